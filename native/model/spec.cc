#include "model/spec.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string>

namespace k2 {
namespace {

// Large enough for every published model with room, small enough that products of three sizes cannot
// overflow.
constexpr int64_t kLargestSize = 1 << 20;
constexpr int64_t kLargestVocab = 1 << 24;

// YaRN's 0.1 k ln(s) + 1: how much longer contexts sharpen attention.
double Magnitude(double factor, double k) { return factor <= 1 ? 1.0 : 0.1 * k * std::log(factor) + 1.0; }

}  // namespace

BackendShapes ModelSpec::Shapes(int64_t batch_tokens) const {
  const int64_t widest_dense = std::max(
      first_dense_layers > 0 || experts == 0 || moe_layer_frequency > 1 ? dense_width : 0, shared_width());
  const int64_t widest_input =
      std::max({hidden, q_rank, kv_rank, heads * value_dim, widest_dense, expert_width});
  return {.hidden = hidden,
          .heads = heads,
          .kv_rank = kv_rank,
          .nope_dim = nope_dim,
          .rope_dim = rope_dim,
          .value_dim = value_dim,
          .experts = experts,
          .chosen = chosen,
          .expert_width = experts > 0 ? expert_width : 0,
          .dense_width = widest_dense,
          .widest_input = widest_input,
          .batch_tokens = batch_tokens};
}

int64_t ModelSpec::MoeLayers() const {
  int64_t count = 0;
  for (int64_t layer = 0; layer < layers; ++layer) count += IsMoeLayer(layer);
  return count;
}

Status CheckSpec(const ModelSpec& s) {
  const auto expect = [](bool good, const char* name, const char* what, auto got) -> Status {
    if (good) return {};
    return Status(ErrorCode::kInvalidArgument,
                  std::string("Expected ") + what + " for " + name + ", got " + std::to_string(got));
  };
  const struct {
    const char* name;
    int64_t value, least, most;
  } sizes[] = {
      {"hiddenSize", s.hidden, 1, kLargestSize},
      {"layers", s.layers, 1, 4096},
      {"heads", s.heads, 1, 4096},
      {"qRank", s.q_rank, 0, kLargestSize},
      {"kvRank", s.kv_rank, 1, kLargestSize},
      {"nopeDim", s.nope_dim, 1, 16384},
      {"ropeDim", s.rope_dim, 2, 16384},
      {"valueDim", s.value_dim, 1, 16384},
      {"vocabSize", s.vocab, 1, kLargestVocab},
      {"denseWidth", s.dense_width, 0, kLargestSize},
      {"expertWidth", s.expert_width, 0, kLargestSize},
      {"experts", s.experts, 0, 65536},
      {"expertsPerToken", s.chosen, 0, s.experts},
      {"sharedExperts", s.shared_experts, 0, 256},
      {"moeLayerFrequency", s.moe_layer_frequency, 1, 4096},
      {"firstDenseLayers", s.first_dense_layers, 0, 4096},
      {"groups", s.groups, 1, std::max<int64_t>(s.experts, 1)},
      {"topGroups", s.top_groups, 1, s.groups},
  };
  for (const auto& size : sizes) {
    if (size.value >= size.least && size.value <= size.most) continue;
    return Status(ErrorCode::kInvalidArgument, std::string("Expected ") + std::to_string(size.least) + ".." +
                                                   std::to_string(size.most) + " for " + size.name +
                                                   ", got " + std::to_string(size.value));
  }
  K2_RETURN_IF_ERROR(expect(s.rope_dim % 2 == 0, "ropeDim", "an even number", s.rope_dim));
  K2_RETURN_IF_ERROR(
      expect(s.experts % s.groups == 0, "groups", "a divisor of the number of experts", s.groups));
  K2_RETURN_IF_ERROR(expect(s.experts == 0 || s.chosen > 0, "expertsPerToken", "at least 1", s.chosen));
  K2_RETURN_IF_ERROR(
      expect(s.experts == 0 || s.expert_width > 0, "expertWidth", "at least 1", s.expert_width));
  K2_RETURN_IF_ERROR(expect(s.norm_eps > 0, "normEps", "a positive number", s.norm_eps));
  K2_RETURN_IF_ERROR(expect(s.latent_norm_eps > 0, "latentNormEps", "a positive number", s.latent_norm_eps));
  K2_RETURN_IF_ERROR(expect(s.rope_theta > 1, "ropeTheta", "a number above 1", s.rope_theta));
  K2_RETURN_IF_ERROR(
      expect(std::isfinite(s.routed_scaling), "routedScaling", "a finite number", s.routed_scaling));
  if (s.yarn_factor != 0) {
    K2_RETURN_IF_ERROR(
        expect(s.yarn_factor >= 1, "yarnFactor", "0 or a number of at least 1", s.yarn_factor));
    K2_RETURN_IF_ERROR(expect(s.yarn_original_positions > 0, "yarnOriginalPositions", "a positive number",
                              s.yarn_original_positions));
    K2_RETURN_IF_ERROR(expect(s.yarn_beta_fast > 0, "yarnBetaFast", "a positive number", s.yarn_beta_fast));
    K2_RETURN_IF_ERROR(expect(s.yarn_beta_slow > 0, "yarnBetaSlow", "a positive number", s.yarn_beta_slow));
  }
  return {};
}

RopeTable MakeRopeTable(const ModelSpec& s) {
  RopeTable table;
  const double d = static_cast<double>(s.rope_dim);
  const double m =
      s.yarn_factor > 0 && s.yarn_mscale_all_dim != 0 ? Magnitude(s.yarn_factor, s.yarn_mscale_all_dim) : 1;
  table.attention_scale = m * m / std::sqrt(static_cast<double>(s.nope_dim + s.rope_dim));
  if (s.yarn_factor > 0) {
    table.magnitude =
        Magnitude(s.yarn_factor, s.yarn_mscale) / Magnitude(s.yarn_factor, s.yarn_mscale_all_dim);
  }
  // The dimension whose wave turns `beta` times within the original context.
  const auto correction = [&](double beta) {
    return d * std::log(s.yarn_original_positions / (2 * std::numbers::pi * beta)) /
           (2 * std::log(s.rope_theta));
  };
  const double low = std::max(std::floor(correction(s.yarn_beta_fast)), 0.0);
  double high = std::min(std::ceil(correction(s.yarn_beta_slow)), d - 1);
  if (low == high) high += 0.001;
  for (int64_t i = 0; i < s.rope_dim / 2; ++i) {
    const double extrapolated = std::pow(s.rope_theta, -2.0 * static_cast<double>(i) / d);
    if (s.yarn_factor == 0) {
      table.inverse_frequencies.push_back(extrapolated);
      continue;
    }
    const double interpolated = extrapolated / s.yarn_factor;
    const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    table.inverse_frequencies.push_back(interpolated * ramp + extrapolated * (1 - ramp));
  }
  return table;
}

}  // namespace k2
