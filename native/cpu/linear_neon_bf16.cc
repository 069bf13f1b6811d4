// Linear kernels for aarch64 with the bf16 dot product: two exact products per lane and instruction, summed
// in f32 with rounding to odd. Subnormal numbers count as nothing, and every processor that has it has dot
// and matrix product of bytes too.
#if defined(__aarch64__)
#include <arm_neon.h>

#include "base/cpu_features.h"
#include "cpu/linear_region.h"

#if K2_HAS_NEON_DOTS

#define K2_TILE_TOKENS 4
#define K2_PAIR_DOT
#define K2_DOTPROD
#define K2_I8MM

K2_REGION_BEGIN("arch=armv8.2-a+dotprod+i8mm+bf16")

namespace k2 {
namespace neon_bf16 {
namespace {

#include "cpu/lanes_neon.inl.h"

#include "cpu/byte_dot_neon.inl.h"

#include "cpu/pair_dot_neon.inl.h"

#include "cpu/linear_body.inl.h"
#include "cpu/linear_pack.inl.h"

}  // namespace

K2_LINEAR_KERNELS(kLinearKernels, Isa::kNeonBf16, kTwoPlanes)

}  // namespace neon_bf16
}  // namespace k2

K2_REGION_END

#endif
#endif
