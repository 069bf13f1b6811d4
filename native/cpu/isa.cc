#include "cpu/isa.h"

#include "base/cpu_features.h"

namespace k2 {

const char* IsaName(Isa isa) {
  switch (isa) {
    case Isa::kScalar:
      return "scalar";
    case Isa::kAvx2:
      return "avx2";
    case Isa::kAvx2Vnni:
      return "avx2-vnni";
    case Isa::kAvx512:
      return "avx512";
    case Isa::kAvx512Vnni:
      return "avx512-vnni";
    case Isa::kAvx512Bf16:
      return "avx512-bf16";
    case Isa::kAvx512Bf16Vnni:
      return "avx512-bf16-vnni";
    case Isa::kNeon:
      return "neon";
    case Isa::kNeonDotprod:
      return "neon-dotprod";
    case Isa::kNeonI8mm:
      return "neon-i8mm";
    case Isa::kNeonBf16:
      return "neon-bf16";
  }
  return "";
}

std::vector<Isa> SupportedIsas() {
  std::vector<Isa> isas;
  const CpuFeatures& cpu = DetectCpu();
  // Intel's cores do a bf16 dot product every other cycle, but two byte dot products in each.
  if (cpu.avx512_bf16 && cpu.is_intel) isas.push_back(Isa::kAvx512Bf16Vnni);
  if (cpu.avx512_bf16) isas.push_back(Isa::kAvx512Bf16);
  if (cpu.avx512_bf16 && !cpu.is_intel) isas.push_back(Isa::kAvx512Bf16Vnni);
  if (cpu.avx512_vnni) isas.push_back(Isa::kAvx512Vnni);
  if (cpu.avx512) isas.push_back(Isa::kAvx512);
  if (cpu.avx_vnni) isas.push_back(Isa::kAvx2Vnni);
  if (cpu.avx2_fma) isas.push_back(Isa::kAvx2);
  if (cpu.neon_bf16) isas.push_back(Isa::kNeonBf16);
  if (cpu.neon_i8mm) isas.push_back(Isa::kNeonI8mm);
  if (cpu.neon_dotprod) isas.push_back(Isa::kNeonDotprod);
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
