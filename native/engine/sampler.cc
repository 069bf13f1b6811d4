#include "engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>
#include <unordered_map>

#include "base/fast_math.h"
#include "base/rng.h"

namespace k2 {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();
constexpr size_t kBlock = 64;  // weights that are summed together

// What options make of a score may leave the range of float. It stays finite: infinities have no differences,
// and minus infinity means that a token is not allowed.
float ToScore(double value) {
  constexpr double kMost = std::numeric_limits<float>::max();
  return static_cast<float>(std::clamp(value, -kMost, kMost));
}

Status Expected(const char* what, const char* option, const std::string& got) {
  return Status(ErrorCode::kInvalidArgument,
                std::string("Expected ") + what + " for " + option + ", got " + got);
}

}  // namespace

Status CheckSampling(const SamplingOptions& o, int64_t vocab) {
  const struct {
    bool good;
    const char* what;
    const char* option;
    double got;
  } numbers[] = {
      {o.max_tokens >= 0, "a number of at least 0", "maxTokens", static_cast<double>(o.max_tokens)},
      {o.temperature >= 0 && o.temperature <= 100, "0..100", "temperature", o.temperature},
      {o.top_k >= 0, "a number of at least 0", "topK", static_cast<double>(o.top_k)},
      {o.top_p > 0 && o.top_p <= 1, "a number above 0, at most 1", "topP", o.top_p},
      {o.min_p >= 0 && o.min_p <= 1, "0..1", "minP", o.min_p},
      {o.repetition_penalty > 0 && o.repetition_penalty <= 100, "a number above 0, at most 100",
       "repetitionPenalty", o.repetition_penalty},
      {std::fabs(o.presence_penalty) <= 100, "-100..100", "presencePenalty", o.presence_penalty},
      {std::fabs(o.frequency_penalty) <= 100, "-100..100", "frequencyPenalty", o.frequency_penalty},
      {o.penalty_tokens >= 0, "a number of at least 0", "penaltyTokens",
       static_cast<double>(o.penalty_tokens)},
      {o.top_logprobs >= 0 && o.top_logprobs <= vocab, "0..vocab_size", "topLogprobs",
       static_cast<double>(o.top_logprobs)},
  };
  for (const auto& number : numbers) {
    if (!number.good) return Expected(number.what, number.option, std::to_string(number.got));
  }
  const auto in_vocabulary = [vocab](const std::vector<int32_t>& ids, const char* option) -> Status {
    for (int32_t id : ids) {
      if (id < 0 || id >= vocab) return Expected("ids of the vocabulary", option, std::to_string(id));
    }
    return {};
  };
  K2_RETURN_IF_ERROR(in_vocabulary(o.stop_tokens, "stopTokens"));
  K2_RETURN_IF_ERROR(in_vocabulary(o.bias_ids, "logitBias"));
  if (o.bias_ids.size() != o.bias_values.size()) {
    return Expected("as many ids as values", "logitBias", std::to_string(o.bias_values.size()));
  }
  for (float value : o.bias_values) {
    if (!std::isfinite(value)) return Expected("finite numbers", "logitBias", std::to_string(value));
  }
  const size_t words = static_cast<size_t>((vocab + 31) / 32);
  if (!o.mask.empty() && o.mask.size() != words) {
    return Expected("one bit per token of the vocabulary", "mask", std::to_string(o.mask.size()) + " words");
  }
  return {};
}

// Takes tokens whose bit is 0 out of the choice; words of ones cost nothing.
void Sampler::Exclude(std::span<const uint32_t> bits) {
  for (size_t first = 0; first < scores_.size(); first += 32) {
    const uint32_t word = bits[first / 32];
    if (word == 0xffffffffu) continue;
    const size_t last = std::min(first + 32, scores_.size());
    for (size_t id = first; id < last; ++id) {
      if (!((word >> (id - first)) & 1u)) scores_[id] = kNever;
    }
  }
}

// Turns scores_ from the model's logits into those of the options.
Status Sampler::Adjust(std::span<const int32_t> history, const SamplingOptions& o, const TokenSet* allowed) {
  if (o.repetition_penalty != 1 || o.presence_penalty != 0 || o.frequency_penalty != 0) {
    const size_t window = o.penalty_tokens == 0
                              ? history.size()
                              : std::min(history.size(), static_cast<size_t>(o.penalty_tokens));
    std::unordered_map<int32_t, int> counts;
    for (int32_t id : history.last(window)) ++counts[id];
    for (const auto& [id, count] : counts) {
      float& score = scores_[static_cast<size_t>(id)];
      const double penalized = score > 0 ? score / o.repetition_penalty : score * o.repetition_penalty;
      score = ToScore(penalized - o.presence_penalty - o.frequency_penalty * count);
    }
  }
  for (size_t i = 0; i < o.bias_ids.size(); ++i) {
    float& score = scores_[static_cast<size_t>(o.bias_ids[i])];
    score = ToScore(double{score} + o.bias_values[i]);
  }
  if (allowed != nullptr) Exclude(allowed->bits);
  if (!o.mask.empty()) {
    Exclude(o.mask);
    if (std::ranges::all_of(scores_, [](float score) { return score == kNever; }))
      return Expected("at least one allowed token", "mask", "none");
  }
  return {};
}

// weights_ becomes e^((score - best) / temperature), in portable arithmetic, and sums_ those of each block.
void Sampler::Weigh(double temperature) {
  const size_t blocks = (scores_.size() + kBlock - 1) / kBlock;
  weights_.resize(blocks * kBlock);
  sums_.resize(blocks);
  scores_.resize(blocks * kBlock, kNever);
  const float best = *std::max_element(scores_.begin(), scores_.end());
  for (size_t block = 0; block < blocks; ++block) {
    const float* const scores = scores_.data() + block * kBlock;
    float* const weights = weights_.data() + block * kBlock;
    // The difference may be beyond float, and dividing it brings it back.
    for (size_t i = 0; i < kBlock; ++i)
      weights[i] = static_cast<float>((double{scores[i]} - best) / temperature);
    for (size_t i = 0; i < kBlock; ++i) weights[i] = Exp(weights[i]);
  }
  SumUp();
}

void Sampler::SumUp() {
  for (size_t block = 0; block < sums_.size(); ++block) {
    double sum = 0;
    for (size_t i = 0; i < kBlock; ++i) sum += weights_[block * kBlock + i];
    sums_[block] = sum;
  }
}

// Leaves weight to the best tokens alone: the first top_k, and of those the smallest set that reaches top_p.
void Sampler::KeepBest(const SamplingOptions& o) {
  const double total = std::accumulate(sums_.begin(), sums_.end(), 0.0);
  // Nearly always a few hundred tokens have nearly all of the weight, and only those need be sorted.
  const auto is_enough = [&](double mass) {
    return o.top_k > 0 ? candidates_.size() >= static_cast<size_t>(o.top_k) : mass >= o.top_p * total;
  };
  for (float least = 1e-2f;; least = least > 1e-30f ? least * 1e-4f : 0) {
    double mass = 0;
    candidates_.clear();
    for (size_t id = 0; id < weights_.size(); ++id) {
      if (!(weights_[id] >= least && weights_[id] > 0)) continue;
      candidates_.push_back(static_cast<int32_t>(id));
      mass += weights_[id];
    }
    if (least == 0 || is_enough(mass)) break;
  }

  size_t sorted = 0;
  const auto sort_best = [&](size_t count) {
    count = std::min(count, candidates_.size());
    if (count <= sorted) return;
    const auto at = [&](size_t i) { return candidates_.begin() + static_cast<std::ptrdiff_t>(i); };
    std::partial_sort(at(sorted), at(count), candidates_.end(), [this](int32_t a, int32_t b) {
      const float x = scores_[static_cast<size_t>(a)], y = scores_[static_cast<size_t>(b)];
      return x != y ? x > y : a < b;
    });
    sorted = count;
  };
  double allowed = total;
  if (o.top_k > 0) {
    sort_best(static_cast<size_t>(o.top_k));
    candidates_.resize(sorted);
    allowed = 0;
    for (int32_t id : candidates_) allowed += weights_[static_cast<size_t>(id)];
  }
  size_t kept = candidates_.size();
  if (o.top_p < 1) {
    double sum = 0;
    for (kept = 0; kept < candidates_.size() && (kept == 0 || sum < o.top_p * allowed); ++kept) {
      if (kept == sorted) sort_best(std::max<size_t>(256, sorted * 4));
      sum += weights_[static_cast<size_t>(candidates_[kept])];
    }
  }
  candidates_.resize(kept);
  std::vector<float> kept_weights(kept);
  for (size_t i = 0; i < kept; ++i) kept_weights[i] = weights_[static_cast<size_t>(candidates_[i])];
  std::ranges::fill(weights_, 0.0f);
  for (size_t i = 0; i < kept; ++i) weights_[static_cast<size_t>(candidates_[i])] = kept_weights[i];
  SumUp();
}

int32_t Sampler::Draw(double uniform, const SamplingOptions& o) {
  Weigh(o.temperature);
  if (o.top_k > 0 || o.top_p < 1) KeepBest(o);
  if (o.min_p > 0) {
    const float least = static_cast<float>(o.min_p);
    for (float& weight : weights_) weight = weight < least ? 0 : weight;
    SumUp();
  }
  double left = uniform * std::accumulate(sums_.begin(), sums_.end(), 0.0);
  size_t block = 0;
  while (block + 1 < sums_.size() && left >= sums_[block]) left -= sums_[block++];
  for (size_t id = block * kBlock; id < weights_.size(); ++id) {
    left -= weights_[id];
    if (left < 0) return static_cast<int32_t>(id);
  }
  // Rounding left a sliver behind the last token.
  size_t last = weights_.size() - 1;
  while (weights_[last] == 0) --last;
  return static_cast<int32_t>(last);
}

Result<SampledToken> Sampler::Sample(std::span<const float> logits, std::span<const int32_t> history,
                                     int64_t position, const SamplingOptions& o, const TokenSet* allowed) {
  for (size_t id = 0; id < logits.size(); ++id) {
    if (!std::isfinite(logits[id])) {
      return Status(ErrorCode::kNumericalFault,
                    "Expected finite logits at position " + std::to_string(position) + ", got " +
                        std::to_string(logits[id]) + " for token " + std::to_string(id));
    }
  }
  scores_.assign(logits.begin(), logits.end());
  K2_RETURN_IF_ERROR(Adjust(history, o, allowed));

  SampledToken token;
  if (o.temperature == 0) {
    token.id = static_cast<int32_t>(std::max_element(scores_.begin(), scores_.end()) - scores_.begin());
  } else {
    token.id = Draw(UniformAt(o.seed, static_cast<uint64_t>(position)), o);
  }
  if (!o.logprobs && o.top_logprobs == 0) return token;

  const double largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (float logit : logits) sum += std::exp(logit - largest);
  const double log_sum = largest + std::log(sum);
  token.logprob = static_cast<float>(logits[static_cast<size_t>(token.id)] - log_sum);
  candidates_.resize(logits.size());
  std::iota(candidates_.begin(), candidates_.end(), 0);
  const auto best = candidates_.begin() + static_cast<std::ptrdiff_t>(o.top_logprobs);
  std::partial_sort(candidates_.begin(), best, candidates_.end(), [logits](int32_t a, int32_t b) {
    const float x = logits[static_cast<size_t>(a)], y = logits[static_cast<size_t>(b)];
    return x != y ? x > y : a < b;
  });
  for (auto id = candidates_.begin(); id != best; ++id) {
    token.top_ids.push_back(*id);
    token.top_logprobs.push_back(static_cast<float>(logits[static_cast<size_t>(*id)] - log_sum));
  }
  return token;
}

}  // namespace k2
