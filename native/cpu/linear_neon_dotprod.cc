// Linear kernels for aarch64 with the byte dot product. INT4 weights meet 16-bit activations as two planes of
// bytes, everything else is multiplied in f32.
#if defined(__aarch64__)
#include <arm_neon.h>

#include "base/cpu_features.h"
#include "cpu/linear_region.h"

#if K2_HAS_NEON_DOTS

#define K2_TILE_TOKENS 4
#define K2_DOTPROD

K2_REGION_BEGIN("arch=armv8.2-a+dotprod")

namespace k2 {
namespace neon_dotprod {
namespace {

#include "cpu/lanes_neon.inl.h"

#include "cpu/byte_dot_neon.inl.h"

#include "cpu/linear_body.inl.h"
#include "cpu/linear_pack.inl.h"

}  // namespace

K2_LINEAR_KERNELS(kLinearKernels, Isa::kNeonDotprod, kTwoPlanes)

}  // namespace neon_dotprod
}  // namespace k2

K2_REGION_END

#endif
#endif
