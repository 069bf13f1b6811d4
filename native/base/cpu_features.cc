#include "base/cpu_features.h"

namespace k2 {

const CpuFeatures& DetectCpu() {
  static const CpuFeatures features = [] {
    CpuFeatures found;
#if defined(__x86_64__)
    // The compiler's runtime also asks the operating system whether it saves the wide registers.
    __builtin_cpu_init();
    found.crc32c = __builtin_cpu_supports("sse4.2");
    found.avx2_fma =
        __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
    found.avx512 = found.avx2_fma && __builtin_cpu_supports("avx512f") &&
                   __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                   __builtin_cpu_supports("avx512vl");
    found.avx512_vnni = found.avx512 && __builtin_cpu_supports("avx512vnni");
    found.avx512_bf16 = found.avx512 && __builtin_cpu_supports("avx512bf16");
#elif defined(__aarch64__)
    found.neon = true;  // part of the base architecture
#endif
    return found;
  }();
  return features;
}

}  // namespace k2
