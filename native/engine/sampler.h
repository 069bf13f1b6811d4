// Choosing a token from logits. Order of the steps: penalties, bias and mask on the logits; temperature;
// top-k; top-p; min-p; one draw. Reported log-probabilities are those of the model itself, before any of
// these steps.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/status.h"
#include "grammar/constraint.h"

namespace k2 {

struct SamplingOptions {
  int64_t max_tokens = 0;
  double temperature = 1;  // 0: the most likely token, lowest id on ties
  int64_t top_k = 0;       // 0: all
  double top_p = 1;
  double min_p = 0;  // least probability relative to the most likely token
  double repetition_penalty = 1;
  double presence_penalty = 0;
  double frequency_penalty = 0;
  int64_t penalty_tokens = 0;  // how many of the latest tokens the penalties see; 0: all
  uint64_t seed = 0;
  bool logprobs = false;
  int64_t top_logprobs = 0;
  std::vector<int32_t> stop_tokens;
  std::vector<int32_t> bias_ids;
  std::vector<float> bias_values;
  std::vector<uint32_t> mask;  // bit i of word i >> 5 allows token i; empty: all allowed
};

struct SampledToken {
  int32_t id = 0;
  float logprob = 0;
  std::vector<int32_t> top_ids;
  std::vector<float> top_logprobs;
};

// Every option is in range and every id in the vocabulary.
Status CheckSampling(const SamplingOptions& options, int64_t vocab);

class Sampler {
 public:
  // Draws the token for `position`; the draw depends on logits, options, history and position alone.
  // NaN or infinity among the logits is a numerical fault. Without `allowed` every token may be drawn.
  Result<SampledToken> Sample(std::span<const float> logits, std::span<const int32_t> history,
                              int64_t position, const SamplingOptions& options,
                              const TokenSet* allowed = nullptr);

 private:
  Status Adjust(std::span<const int32_t> history, const SamplingOptions& options, const TokenSet* allowed);
  void Exclude(std::span<const uint32_t> bits);
  void Weigh(double temperature);
  void SumUp();
  void KeepBest(const SamplingOptions& options);
  int32_t Draw(double uniform, const SamplingOptions& options);

  std::vector<float> scores_;   // [V] adjusted logits; minus infinity where not allowed
  std::vector<float> weights_;  // [V] relative to the best token's, which is 1; zeros up to a whole block
  std::vector<double> sums_;    // of each block of weights
  std::vector<int32_t> candidates_;  // ids, best first as far as sorted
};

}  // namespace k2
