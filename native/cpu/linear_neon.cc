// Linear kernels for aarch64: products in f32, of bytes in pairs of 16 bits. NEON is part of the base
// architecture, so this file needs no region.
#if defined(__aarch64__)
#include <arm_neon.h>

#include "cpu/linear_region.h"

#define K2_TILE_TOKENS 4

namespace k2 {
namespace neon {
namespace {

#include "cpu/lanes_neon.inl.h"

#include "cpu/byte_dot_neon.inl.h"

#include "cpu/linear_body.inl.h"
#include "cpu/linear_pack.inl.h"

}  // namespace

K2_LINEAR_KERNELS(kLinearKernels, Isa::kNeon, kTwoPlanes)

}  // namespace neon
}  // namespace k2
#endif
