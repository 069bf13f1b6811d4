#include "engine/sampler.h"

#include <cmath>
#include <limits>
#include <map>

#include "base/rng.h"
#include "check.h"

namespace k2 {
namespace {

int32_t Sample(const std::vector<float>& logits, SamplingOptions options, int64_t position = 0,
               std::vector<int32_t> history = {}) {
  Sampler sampler;
  const Result<SampledToken> token = sampler.Sample(logits, history, position, options);
  if (!token.ok()) test::Fail(__FILE__, __LINE__, token.status().message());
  return token.ok() ? token.value().id : -1;
}

}  // namespace

TEST(SamplerPhiloxKnownAnswers) {
  // Philox 4x32-10 of an all-zero counter and key begins with 6627e8d5 e169c58d; of all ones with 408f276d
  // 41c83b0e (Random123's published vectors). UniformAt takes the first two words.
  const auto uniform = [](uint64_t high, uint64_t low) {
    return static_cast<double>((high << 32 | low) >> 11) * 0x1p-53;
  };
  EXPECT(UniformAt(0, 0) == uniform(0x6627e8d5, 0xe169c58d));
}

TEST(SamplerGreedyTakesLowestIdOnTies) {
  SamplingOptions greedy;
  greedy.temperature = 0;
  EXPECT(Sample({1, 3, 3, 2}, greedy) == 1);
  greedy.mask = {0b1100};
  EXPECT(Sample({1, 3, 3, 2}, greedy) == 2);
}

TEST(SamplerFollowsSoftmaxAtEachTemperature) {
  const std::vector<float> logits = {0.0f, 1.0f, 2.0f, -1.0f};
  for (double temperature : {0.5, 1.0, 2.0}) {
    SamplingOptions options;
    options.temperature = temperature;
    options.seed = 42;
    std::map<int32_t, int> counts;
    constexpr int kDraws = 20000;
    for (int i = 0; i < kDraws; ++i) ++counts[Sample(logits, options, i)];
    double sum = 0;
    for (float z : logits) sum += std::exp(z / temperature);
    for (int32_t id = 0; id < 4; ++id) {
      const double p = std::exp(logits[static_cast<size_t>(id)] / temperature) / sum;
      EXPECT_NEAR(counts[id] / double{kDraws}, p, 5 * std::sqrt(p * (1 - p) / kDraws));
    }
  }
}

TEST(SamplerFiltersKeepExactlyTheirSets) {
  // Probabilities 0.5, 0.3, 0.15, 0.05 in shuffled order.
  const std::vector<float> logits = {std::log(0.15f), std::log(0.5f), std::log(0.05f), std::log(0.3f)};
  const auto drawn = [&](SamplingOptions options) {
    uint32_t set = 0;
    for (int i = 0; i < 3000; ++i) set |= 1u << Sample(logits, options, i);
    return set;
  };
  SamplingOptions options;
  EXPECT(drawn(options) == 0b1111);
  options.top_k = 2;
  EXPECT(drawn(options) == 0b1010);
  options = {};
  options.top_p = 0.79;  // 0.5 is not enough, 0.5 + 0.3 is
  EXPECT(drawn(options) == 0b1010);
  options.top_p = 0.81;
  EXPECT(drawn(options) == 0b1011);
  options = {};
  options.min_p = 0.25;  // 0.125 and more
  EXPECT(drawn(options) == 0b1011);
  options.top_k = 3;
  options.top_p = 0.9;
  options.min_p = 0.5;
  EXPECT(drawn(options) == 0b1010);
}

TEST(SamplerTopPOverALargeVocabulary) {
  // Sorted in pieces: the result must be that of a full sort.
  std::vector<float> logits(5000);
  for (size_t i = 0; i < logits.size(); ++i) logits[i] = static_cast<float>((i * 7919) % 5000) * 0.001f;
  double total = 0;
  for (float z : logits) total += std::exp(z);
  SamplingOptions options;
  options.top_p = 0.6;
  double kept = 0;
  float least = 5;
  for (int rank = 4999; rank >= 0 && kept < 0.6 * total; --rank) {
    least = static_cast<float>(rank) * 0.001f;
    kept += std::exp(least);
  }
  for (int i = 0; i < 3000; ++i) EXPECT(logits[static_cast<size_t>(Sample(logits, options, i))] >= least);
}

TEST(SamplerPenaltiesAndBias) {
  SamplingOptions greedy;
  greedy.temperature = 0;
  greedy.repetition_penalty = 2;
  EXPECT(Sample({4, 3, -1}, greedy, 0, {0}) == 1);
  EXPECT(Sample({-4, -3, -5}, greedy, 0, {1}) == 0);  // negative logits are multiplied: -3 becomes -6
  greedy.repetition_penalty = 1;
  greedy.presence_penalty = 1.5;
  EXPECT(Sample({4, 3, 0}, greedy, 0, {0, 0, 0}) == 1);
  greedy.presence_penalty = 0;
  greedy.frequency_penalty = 0.4;
  EXPECT(Sample({4, 3, 0}, greedy, 0, {0, 0}) == 0);
  EXPECT(Sample({4, 3, 0}, greedy, 0, {0, 0, 0}) == 1);
  greedy.penalty_tokens = 2;
  EXPECT(Sample({4, 3, 0}, greedy, 0, {0, 0, 0}) == 0);
  greedy.bias_ids = {2};
  greedy.bias_values = {9};
  EXPECT(Sample({4, 3, 0}, greedy) == 2);
}

TEST(SamplerScoresBeyondFloatStayInOrder) {
  constexpr float kLargest = std::numeric_limits<float>::max();
  SamplingOptions options;
  options.repetition_penalty = 1e-300;
  for (int i = 0; i < 20; ++i) EXPECT(Sample({4, 3, 9, 1}, options, i, {0}) == 0);
  uint32_t set = 0;
  for (int i = 0; i < 200; ++i) set |= 1u << Sample({4, 3, 9, 1}, options, i, {0, 1});
  EXPECT(set == 0b11);  // both as large as scores can be
  options = {};
  options.bias_ids = {1};
  options.bias_values = {kLargest};
  EXPECT(Sample({0, kLargest, 0}, options) == 1);
  // The only allowed token stays allowed, however small its score.
  options.bias_values = {-kLargest};
  options.mask = {0b010};
  EXPECT(Sample({0, -kLargest, 0}, options) == 1);
}

TEST(SamplerRefusesWhatIsNoNumber) {
  Sampler sampler;
  for (float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                    -std::numeric_limits<float>::infinity()}) {
    const Result<SampledToken> token = sampler.Sample(std::vector<float>{1, bad, 2}, {}, 3, {});
    EXPECT(!token.ok() && token.status().code() == ErrorCode::kNumericalFault);
  }
  SamplingOptions none;
  none.mask = {0b1000};  // allows an id past the vocabulary only
  EXPECT(!sampler.Sample(std::vector<float>{1, 2, 3}, {}, 0, none).ok());
}

TEST(SamplerLogprobsAreTheModelsOwn) {
  SamplingOptions options;
  options.temperature = 0;
  options.top_logprobs = 2;
  options.bias_ids = {0};
  options.bias_values = {100};
  Sampler sampler;
  const Result<SampledToken> token = sampler.Sample(std::vector<float>{0, 1, 2}, {}, 0, options);
  const double log_sum = std::log(1 + std::exp(1.0) + std::exp(2.0));
  EXPECT(token.value().id == 0);
  EXPECT_NEAR(token.value().logprob, -log_sum, 1e-6);
  EXPECT(token.value().top_ids == (std::vector<int32_t>{2, 1}));
  EXPECT_NEAR(token.value().top_logprobs[0], 2 - log_sum, 1e-6);
}

}  // namespace k2
