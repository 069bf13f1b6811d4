// Linear kernels with AVX2, FMA and F16C: products in f32, of bytes in pairs of 16 bits.
#if defined(__x86_64__)
#include <immintrin.h>

#include "cpu/linear_region.h"

#define K2_TILE_TOKENS 6

K2_REGION_BEGIN("avx2,fma,f16c")

namespace k2 {
namespace avx2 {
namespace {

#include "cpu/lanes_avx2.inl.h"

#include "cpu/byte_dot_avx2.inl.h"

#include "cpu/linear_body.inl.h"
#include "cpu/linear_pack.inl.h"

}  // namespace

K2_LINEAR_KERNELS(kLinearKernels, Isa::kAvx2, kTwoPlanes)

}  // namespace avx2
}  // namespace k2

K2_REGION_END

#endif
