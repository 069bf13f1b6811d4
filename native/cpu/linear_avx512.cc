// Linear kernels with AVX-512 F, BW, DQ, VL and products in f32.
#if defined(__x86_64__)
#include <immintrin.h>

#include "cpu/linear_region.h"

#define K2_TILE_TOKENS 8

K2_REGION_BEGIN("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")

namespace k2 {
namespace avx512 {
namespace {

#include "cpu/lanes_avx512.inl.h"
#include "cpu/linear_body.inl.h"
#include "cpu/linear_pack.inl.h"

}  // namespace

extern const LinearKernels kLinearKernels = {Isa::kAvx512,         FormatFor,   PackRow, MultiplyRowBlock,
                                             MultiplyRowBlockPair, GainsByPairs};

}  // namespace avx512
}  // namespace k2

K2_REGION_END

#endif
