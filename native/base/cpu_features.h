// What this processor can do, read once. Kernels are chosen from it; callers never test for instructions.
#pragma once

// Whether this compiler can mark single functions for the dot products of aarch64: clang learned it with
// version 16. Older ones build the plain NEON kernels alone.
#if defined(__aarch64__) && (!defined(__clang__) || __clang_major__ >= 16)
#define K2_HAS_NEON_DOTS 1
#else
#define K2_HAS_NEON_DOTS 0
#endif

namespace k2 {

struct CpuFeatures {
  bool crc32c = false;    // the instruction of SSE4.2
  bool avx2_fma = false;  // AVX2, FMA and F16C
  bool avx_vnni = false;  // the same with the byte dot product in its VEX form
  bool avx512 = false;    // AVX-512 F, BW, DQ, VL
  bool avx512_vnni = false;
  bool avx512_bf16 = false;  // with VNNI
  bool is_intel = false;
  bool neon = false;
  bool neon_dotprod = false;  // the byte dot product, and a compiler for it
  bool neon_i8mm = false;     // with dotprod: the matrix product of bytes
  bool neon_bf16 = false;     // with i8mm: dot and matrix product of bf16
};

const CpuFeatures& DetectCpu();

}  // namespace k2
