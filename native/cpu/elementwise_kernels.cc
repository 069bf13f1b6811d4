// The elementwise kernels of every ISA that this build can hold: one body, compiled once per region. Dot
// products have no use here.
#include <bit>
#include <cstring>

#include "base/dtype.h"
#include "base/fast_math.h"
#include "cpu/elementwise.h"
#include "cpu/region.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace k2::scalar {
namespace {
#include "cpu/vectors_scalar.inl.h"

#include "cpu/vector_math.inl.h"

#include "cpu/elementwise.inl.h"
}  // namespace
}  // namespace k2::scalar

#if defined(__x86_64__)

K2_REGION_BEGIN("avx2,fma,f16c")
namespace k2::avx2 {
namespace {
#include "cpu/vectors_avx2.inl.h"

#include "cpu/vector_math.inl.h"

#include "cpu/elementwise.inl.h"
}  // namespace
}  // namespace k2::avx2
K2_REGION_END

K2_REGION_BEGIN("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")
namespace k2::avx512 {
namespace {
#include "cpu/vectors_avx512.inl.h"

#include "cpu/vector_math.inl.h"

#include "cpu/elementwise.inl.h"
}  // namespace
}  // namespace k2::avx512
K2_REGION_END

#elif defined(__aarch64__)

namespace k2::neon {
namespace {
#include "cpu/vectors_neon.inl.h"

#include "cpu/vector_math.inl.h"

#include "cpu/elementwise.inl.h"
}  // namespace
}  // namespace k2::neon

#endif

namespace k2 {

ElementwiseKernels ElementwiseKernelsFor(Isa isa) {
  switch (isa) {
#if defined(__x86_64__)
    case Isa::kAvx2:
    case Isa::kAvx2Vnni:
      return avx2::kElementwiseKernels;
    case Isa::kAvx512:
    case Isa::kAvx512Vnni:
    case Isa::kAvx512Bf16:
    case Isa::kAvx512Bf16Vnni:
      return avx512::kElementwiseKernels;
#elif defined(__aarch64__)
    case Isa::kNeon:
    case Isa::kNeonDotprod:
    case Isa::kNeonI8mm:
    case Isa::kNeonBf16:
      return neon::kElementwiseKernels;
#endif
    default:
      return scalar::kElementwiseKernels;
  }
}

}  // namespace k2
