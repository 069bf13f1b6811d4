// What every linear_<isa>.cc needs before its region begins: all headers, so that none is compiled inside,
// and two macros. Functions inside a region are inlined into its kernels or are local to its namespace;
// lambdas and standard templates have no place there, because they would not carry, or would leak, the
// region's instructions.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/dtype.h"
#include "base/tensor.h"
#include "cpu/interleave.h"
#include "cpu/linear_kernels.h"
#include "cpu/region.h"

#define K2_INLINE [[maybe_unused]] static inline __attribute__((always_inline))
#define K2_MEMBER inline __attribute__((always_inline))

#if defined(__clang__)
#define K2_UNROLL _Pragma("clang loop unroll(full)")
#else
#define K2_UNROLL _Pragma("GCC unroll 32")
#endif

// The tables of a set, one for each precision of activations, at the end of its namespace. `planes`: whether
// INT4 weights meet 16-bit activations as two planes of bytes.
#define K2_LINEAR_KERNELS(name, isa, planes)                                                         \
  extern const LinearKernels name[] = {                                                              \
      {isa, FormatFor<Activations::k16Bit, planes>, PackRow, MultiplyRowBlock, MultiplyRowBlockPair, \
       GainsByPairs, InterleaveBlock},                                                               \
      {isa, FormatFor<Activations::kInt8, planes>, PackRow, MultiplyRowBlock, MultiplyRowBlockPair,  \
       GainsByPairs, InterleaveBlock}};
