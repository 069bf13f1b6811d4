// Linear kernels with AVX-512 and its byte dot product. INT4 weights meet 16-bit activations as two planes of
// bytes, everything else is multiplied in f32.
#if defined(__x86_64__)
#include <immintrin.h>

#include "cpu/linear_region.h"

#define K2_TILE_TOKENS 8
#define K2_VNNI

K2_REGION_BEGIN("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")

namespace k2 {
namespace avx512_vnni {
namespace {

#include "cpu/lanes_avx512.inl.h"

#include "cpu/byte_dot_avx512.inl.h"

#include "cpu/linear_body.inl.h"
#include "cpu/linear_pack.inl.h"

}  // namespace

K2_LINEAR_KERNELS(kLinearKernels, Isa::kAvx512Vnni, kTwoPlanes)

}  // namespace avx512_vnni
}  // namespace k2

K2_REGION_END

#endif
