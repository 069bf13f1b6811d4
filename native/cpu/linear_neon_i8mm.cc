// Linear kernels for aarch64 with dot and matrix product of bytes: as with the dot product alone, to the last
// bit, but two tokens take half the instructions.
#if defined(__aarch64__)
#include <arm_neon.h>

#include "base/cpu_features.h"
#include "cpu/linear_region.h"

#if K2_HAS_NEON_DOTS

#define K2_TILE_TOKENS 4
#define K2_DOTPROD
#define K2_I8MM

K2_REGION_BEGIN("arch=armv8.2-a+dotprod+i8mm")

namespace k2 {
namespace neon_i8mm {
namespace {

#include "cpu/lanes_neon.inl.h"

#include "cpu/byte_dot_neon.inl.h"

#include "cpu/linear_body.inl.h"
#include "cpu/linear_pack.inl.h"

}  // namespace

K2_LINEAR_KERNELS(kLinearKernels, Isa::kNeonI8mm, kTwoPlanes)

}  // namespace neon_i8mm
}  // namespace k2

K2_REGION_END

#endif
#endif
