#include "cpu/isa.h"

#include "base/cpu_features.h"

namespace k2 {

const char* IsaName(Isa isa) {
  switch (isa) {
    case Isa::kScalar:
      return "scalar";
    case Isa::kAvx2:
      return "avx2";
    case Isa::kAvx512:
      return "avx512";
    case Isa::kAvx512Bf16:
      return "avx512-bf16";
    case Isa::kNeon:
      return "neon";
  }
  return "";
}

std::vector<Isa> SupportedIsas() {
  std::vector<Isa> isas;
  const CpuFeatures& cpu = DetectCpu();
  if (cpu.avx512_bf16) isas.push_back(Isa::kAvx512Bf16);
  if (cpu.avx512) isas.push_back(Isa::kAvx512);
  if (cpu.avx2_fma) isas.push_back(Isa::kAvx2);
  if (cpu.neon) isas.push_back(Isa::kNeon);
  isas.push_back(Isa::kScalar);
  return isas;
}

Result<Isa> ChooseIsa(const std::string& forced) {
  const std::vector<Isa> isas = SupportedIsas();
  if (forced.empty()) return isas.front();
  std::string names;
  for (Isa isa : isas) {
    if (forced == IsaName(isa)) return isa;
    names += names.empty() ? "" : ", ";
    names += IsaName(isa);
  }
  return Status(ErrorCode::kInvalidArgument, "Expected one of " + names + " for isa, got \"" + forced + "\"");
}

}  // namespace k2
