#include "base/cpu_features.h"

#include <cstddef>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace k2 {

#if defined(__x86_64__)
namespace {

// Compilers learned to ask for it by name late.
bool HasAvxVnni() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) != 0 && (eax >> 4 & 1) != 0;
}

}  // namespace
#elif defined(__aarch64__)
namespace {

struct ArmFeatures {
  bool dotprod = false, i8mm = false, bf16 = false;
};

#if defined(__linux__)
ArmFeatures DetectArm() {
  // HWCAP_ASIMDDP, HWCAP2_I8MM, HWCAP2_BF16: older headers lack the names.
  const unsigned long first = getauxval(AT_HWCAP), second = getauxval(AT_HWCAP2);
  return {(first >> 20 & 1) != 0, (second >> 13 & 1) != 0, (second >> 14 & 1) != 0};
}
#elif defined(__APPLE__)
bool Has(const char* name) {
  int value = 0;
  size_t size = sizeof(value);
  return sysctlbyname(name, &value, &size, nullptr, 0) == 0 && value != 0;
}
ArmFeatures DetectArm() {
  return {Has("hw.optional.arm.FEAT_DotProd"), Has("hw.optional.arm.FEAT_I8MM"),
          Has("hw.optional.arm.FEAT_BF16")};
}
#else
ArmFeatures DetectArm() { return {}; }
#endif

}  // namespace
#endif

const CpuFeatures& DetectCpu() {
  static const CpuFeatures features = [] {
    CpuFeatures found;
#if defined(__x86_64__)
    // The compiler's runtime also asks the operating system whether it saves the wide registers.
    __builtin_cpu_init();
    found.crc32c = __builtin_cpu_supports("sse4.2");
    found.avx2_fma =
        __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
    found.avx_vnni = found.avx2_fma && HasAvxVnni();
    found.avx512 = found.avx2_fma && __builtin_cpu_supports("avx512f") &&
                   __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                   __builtin_cpu_supports("avx512vl");
    found.avx512_vnni = found.avx512 && __builtin_cpu_supports("avx512vnni");
    found.is_intel = __builtin_cpu_is("intel") != 0;
    found.avx512_bf16 = found.avx512_vnni && __builtin_cpu_supports("avx512bf16");
#elif defined(__aarch64__)
    found.neon = true;  // part of the base architecture
    const ArmFeatures arm = DetectArm();
    found.neon_dotprod = arm.dotprod && K2_HAS_NEON_DOTS;
    found.neon_i8mm = found.neon_dotprod && arm.i8mm;
    found.neon_bf16 = found.neon_i8mm && arm.bf16;
#endif
    return found;
  }();
  return features;
}

}  // namespace k2
