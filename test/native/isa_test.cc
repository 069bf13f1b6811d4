// Which kernel sets a processor gets.
#include "cpu/isa.h"

#include <cstdlib>

#include "base/cpu_features.h"
#include "check.h"

namespace k2::test {
namespace {

std::string NamesOf(const std::vector<Isa>& isas) {
  std::string names;
  for (Isa isa : isas) names += (names.empty() ? "" : " ") + std::string(IsaName(isa));
  return names;
}

TEST(isa_by_name) {
  for (Isa isa : SupportedIsas()) {
    const Result<Isa> chosen = ChooseIsa(IsaName(isa));
    EXPECT(chosen.ok() && chosen.value() == isa);
  }
  EXPECT(ChooseIsa("").ok() && ChooseIsa("").value() == SupportedIsas().front());
  EXPECT(SupportedIsas().back() == Isa::kScalar);
  for (const char* name : {"sse", "AVX2", "avx2 ", "avx512-int8"}) {
    EXPECT(ChooseIsa(name).status().code() == ErrorCode::kInvalidArgument);
    EXPECT(ChooseIsa(name).status().message().find(name) != std::string::npos);
  }
}

// A set needs all that the sets below it have.
TEST(isa_features_build_on_each_other) {
  const CpuFeatures& cpu = DetectCpu();
  EXPECT(cpu.avx2_fma || !(cpu.avx_vnni || cpu.avx512));
  EXPECT(cpu.avx512 || !cpu.avx512_vnni);
  EXPECT(cpu.avx512_vnni || !cpu.avx512_bf16);
  EXPECT(cpu.neon || !cpu.neon_dotprod);
  EXPECT(cpu.neon_dotprod || !cpu.neon_i8mm);
  EXPECT(cpu.neon_i8mm || !cpu.neon_bf16);
}

// Whoever runs the tests on a processor that he knows says what they should find.
TEST(isa_of_a_known_processor) {
  const char* const expected = std::getenv("K2_EXPECTED_KERNEL_SETS");
  if (expected != nullptr && NamesOf(SupportedIsas()) != expected) {
    Fail(__FILE__, __LINE__, "Expected " + std::string(expected) + ", got " + NamesOf(SupportedIsas()));
  }
}

}  // namespace
}  // namespace k2::test
