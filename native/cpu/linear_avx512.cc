// Linear kernels with AVX-512 F, BW, DQ, VL: products in f32, of bytes in pairs of 16 bits.
#if defined(__x86_64__)
#include <immintrin.h>

#include "cpu/linear_region.h"

#define K2_TILE_TOKENS 8

K2_REGION_BEGIN("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")

namespace k2 {
namespace avx512 {
namespace {

#include "cpu/lanes_avx512.inl.h"

#include "cpu/byte_dot_avx512.inl.h"

#include "cpu/linear_body.inl.h"
#include "cpu/linear_pack.inl.h"

}  // namespace

K2_LINEAR_KERNELS(kLinearKernels, Isa::kAvx512, kTwoPlanes)

}  // namespace avx512
}  // namespace k2

K2_REGION_END

#endif
