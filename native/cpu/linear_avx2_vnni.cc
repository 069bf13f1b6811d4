// Linear kernels with AVX2, FMA, F16C and the byte dot product in its VEX form. INT4 weights meet 16-bit
// activations as two planes of bytes, everything else is multiplied in f32.
#if defined(__x86_64__)
#include <immintrin.h>

#include "cpu/linear_region.h"

#define K2_TILE_TOKENS 6
#define K2_VNNI

K2_REGION_BEGIN("avx2,fma,f16c,avxvnni")

namespace k2 {
namespace avx2_vnni {
namespace {

#include "cpu/lanes_avx2.inl.h"

#include "cpu/byte_dot_avx2.inl.h"

#include "cpu/linear_body.inl.h"
#include "cpu/linear_pack.inl.h"

}  // namespace

K2_LINEAR_KERNELS(kLinearKernels, Isa::kAvx2Vnni, kTwoPlanes)

}  // namespace avx2_vnni
}  // namespace k2

K2_REGION_END

#endif
