// How far a correct backend may be from the reference: the bounds of the conformance suite, and of the gate
// that the benchmarks put before every figure.
#pragma once

#include <cstdint>
#include <vector>

#include "base/tensor.h"
#include "ops/backend.h"

namespace k2 {

// A vector of numbers and, for each, how far a correct backend may be from it.
struct Bounded {
  std::vector<double> value, bound;
};

// Exact numbers.
Bounded Exactly(const float* x, int64_t n);

// Of what a sum of products may stray by chance: each of them errs by up to a bound, independently of the
// others, hence by that over the square root of 3 in the mean square. Four times the norm of the bounds
// leaves 7 standard deviations, so that chance never fails a test and an error in one product of a few
// hundred always does.
constexpr double kStraying = 4;
// Rounding a number to bf16 errs by at most 2^-9 of it.
constexpr double kRounding = kStraying * 0x1p-9;
// Of f32 sums, relative to the sum of magnitudes.
constexpr double kSumming = 0x1p-19;

// y = W x, with x rounded to 16 bits, or not; where W is INT4, by a bf16 or as one of 32 integers of 15 or 8
// bits.
Bounded LinearBounded(const Bounded& x, const Weight& w, bool full_precision,
                      Activations activations = Activations::k16Bit);
// down(silu(gate x) * up x)
Bounded FeedForwardBounded(const Bounded& x, const Weight& gate, const Weight& up, const Weight& down,
                           Activations activations = Activations::k16Bit);

}  // namespace k2
