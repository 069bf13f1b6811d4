// What this processor can do, read once. Kernels are chosen from it; callers never test for instructions.
#pragma once

namespace k2 {

struct CpuFeatures {
  bool crc32c = false;    // the instruction of SSE4.2
  bool avx2_fma = false;  // AVX2, FMA and F16C
  bool avx512 = false;    // AVX-512 F, BW, DQ, VL
  bool avx512_vnni = false;
  bool avx512_bf16 = false;
  bool neon = false;
};

const CpuFeatures& DetectCpu();

}  // namespace k2
