// The router of the reference backend: RouterParams line by line.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "reference/reference_backend.h"

namespace k2 {
namespace {

constexpr double kNever = -std::numeric_limits<double>::infinity();

// Indices of the `count` largest keys; equal keys in order of index. NaN counts as smallest.
std::vector<int64_t> Largest(const std::vector<double>& keys, int64_t count) {
  std::vector<int64_t> order(keys.size());
  std::iota(order.begin(), order.end(), 0);
  const auto key = [&](int64_t i) {
    const double k = keys[static_cast<size_t>(i)];
    return std::isnan(k) ? kNever : k;
  };
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return key(a) > key(b); });
  order.resize(static_cast<size_t>(count));
  return order;
}

// Sets the keys of all but the best groups to minus infinity.
void MaskGroups(std::vector<double>& keys, const RouterParams& p) {
  const int64_t group_size = p.experts / p.groups;
  std::vector<double> group_keys;
  for (int64_t g = 0; g < p.groups; ++g) {
    std::vector<double> group(keys.begin() + g * group_size, keys.begin() + (g + 1) * group_size);
    const std::vector<int64_t> best = Largest(group, std::min<int64_t>(2, group_size));
    double score = group[static_cast<size_t>(best[0])];
    if (p.routing == Routing::kNoAuxTc && best.size() > 1) score += group[static_cast<size_t>(best[1])];
    group_keys.push_back(score);
  }
  std::vector<bool> kept(static_cast<size_t>(p.groups), false);
  for (int64_t g : Largest(group_keys, p.top_groups)) kept[static_cast<size_t>(g)] = true;
  for (int64_t e = 0; e < p.experts; ++e) {
    if (!kept[static_cast<size_t>(e / group_size)]) keys[static_cast<size_t>(e)] = kNever;
  }
}

}  // namespace

void ReferenceBackend::Router(const RouterParams& p) {
  const size_t experts = static_cast<size_t>(p.experts);
  std::vector<float> bias(experts, 0.0f);
  if (p.bias != nullptr && p.bias->present()) DecodeRow(*p.bias, 0, bias.data());
  std::vector<double> scores(experts), keys(experts);
  for (int64_t t = 0; t < p.logits.rows; ++t) {
    const float* z = p.logits.row(t);
    if (p.scoring == Scoring::kSigmoid) {
      for (size_t e = 0; e < experts; ++e) scores[e] = 1.0 / (1.0 + std::exp(-double{z[e]}));
    } else {
      const double largest = *std::max_element(z, z + p.experts);
      double sum = 0;
      for (size_t e = 0; e < experts; ++e) sum += scores[e] = std::exp(z[e] - largest);
      for (double& score : scores) score /= sum;
    }
    for (size_t e = 0; e < experts; ++e) keys[e] = scores[e] + bias[e];
    const bool sound = std::none_of(keys.begin(), keys.end(), [](double key) { return std::isnan(key); });
    if (p.routing != Routing::kGreedy && p.groups > 1) MaskGroups(keys, p);

    std::vector<int64_t> chosen = Largest(keys, p.chosen);
    std::sort(chosen.begin(), chosen.end());
    double sum = 0;
    for (int64_t e : chosen) sum += scores[static_cast<size_t>(e)];
    // V3 normalises and scales; V2 does one or the other.
    const bool normalize = p.normalize && (p.routing == Routing::kNoAuxTc || p.chosen > 1);
    const bool scale = p.routing == Routing::kNoAuxTc || !normalize;
    for (int64_t j = 0; j < p.chosen; ++j) {
      const int64_t e = chosen[static_cast<size_t>(j)];
      double weight = scores[static_cast<size_t>(e)];
      if (normalize) weight /= sum + 1e-20;
      if (scale) weight *= p.routed_scaling;
      // Else the expert with the NaN would quietly never be chosen.
      if (!sound) weight = std::numeric_limits<double>::quiet_NaN();
      p.expert_ids[t * p.chosen + j] = static_cast<int32_t>(e);
      p.expert_weights[t * p.chosen + j] = static_cast<float>(weight);
    }
  }
}

}  // namespace k2
