// How far a correct backend may be from the reference: the bounds of the conformance suite, and of the gate
// that the benchmarks put before every figure.
#pragma once

#include <cstdint>
#include <vector>

#include "base/tensor.h"

namespace k2 {

// A vector of numbers and, for each, how far a correct backend may be from it.
struct Bounded {
  std::vector<double> value, bound;
};

// Exact numbers.
Bounded Exactly(const float* x, int64_t n);

// Rounding a number to bf16 errs by at most 2^-9 of it, and by that over the square root of 3 in the mean
// square. A sum of n such products strays by the norm of the products times that; four times the bound leaves
// 7 standard deviations, so that chance never fails a test and an error in one product of a few hundred
// always does.
constexpr double kRounding = 4 * 0x1p-9;
// Of f32 sums, relative to the sum of magnitudes.
constexpr double kSumming = 0x1p-19;

// y = W x, with x rounded to 16 bits, or not.
Bounded LinearBounded(const Bounded& x, const Weight& w, bool full_precision);
// down(silu(gate x) * up x)
Bounded FeedForwardBounded(const Bounded& x, const Weight& gate, const Weight& up, const Weight& down);

}  // namespace k2
