// What stands before every figure: some rows of the result are computed again by the reference backend, and
// each number must lie within the tolerance of the conformance suite. Functions give what is wrong, or "".
#pragma once

#include <span>
#include <string>

#include "bench/bench.h"

namespace k2::bench {

// actual[i] within bound[i] of expected[i]; `where` names the place of the first in messages.
std::string CompareRow(const float* actual, const float* expected, std::span<const double> bound,
                       const std::string& where);

// First and last row, and the outputs at the beginning, in the middle and at the end.
std::string CheckLinear(Bench& bench, const LinearParams& p);

// The last row: its outputs at the beginning. `start` is what y held before.
std::string CheckExperts(Bench& bench, const RoutedExpertsParams& p, float start);
std::string CheckFeedForward(Bench& bench, const FeedForwardParams& p);

// The cached rows of one segment as they were appended, rounded to bf16 before.
struct CachedRows {
  Tensor latent;    // [S, R]
  Tensor rope_key;  // [S, Dr]
};
// The last row of the last segment, in the last head, at some of its outputs.
std::string CheckAttention(Bench& bench, const LatentAttentionParams& p, const CachedRows& cached);

}  // namespace k2::bench
