#include "cpu/router.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace k2 {
namespace {

constexpr double kNever = -std::numeric_limits<double>::infinity();

// Scratch of one thread, all of length E. In double, as the reference has it: a sigmoid in float is 1 for
// every logit above 17, and ties that do not exist would decide between experts.
struct RouterRow {
  double *scores, *keys, *group_keys;
  uint8_t *taken, *group_kept;
};

RouterRow RowOf(uint8_t* memory, int64_t experts) {
  double* numbers = reinterpret_cast<double*>(memory);
  uint8_t* marks = reinterpret_cast<uint8_t*>(numbers + 3 * experts);
  return {numbers, numbers + experts, numbers + 2 * experts, marks, marks + experts};
}

int64_t RowBytes(int64_t experts) { return (experts * 26 + 63) / 64 * 64; }

// The largest of keys[0, n) that is not yet taken, the first of equal ones; NaN counts as the smallest. -1
// when all are taken.
int64_t Largest(const double* keys, const uint8_t* taken, int64_t n) {
  int64_t best = -1;
  double best_key = kNever;
  for (int64_t i = 0; i < n; ++i) {
    if (taken[i]) continue;
    if (best < 0 || keys[i] > best_key) {
      best = i;
      best_key = keys[i] == keys[i] ? keys[i] : kNever;
    }
  }
  return best;
}

void ScoreRow(const RouterParams& p, const float* logits, double* scores) {
  if (p.scoring == Scoring::kSigmoid) {
    for (int64_t e = 0; e < p.experts; ++e) scores[e] = 1.0 / (1.0 + std::exp(-double{logits[e]}));
    return;
  }
  double largest = logits[0];
  for (int64_t e = 1; e < p.experts; ++e) largest = logits[e] > largest ? logits[e] : largest;
  double sum = 0;
  for (int64_t e = 0; e < p.experts; ++e) sum += scores[e] = std::exp(logits[e] - largest);
  for (int64_t e = 0; e < p.experts; ++e) scores[e] /= sum;
}

// Marks the experts of all but the best groups as taken.
void TakeOtherGroups(const RouterParams& p, const RouterRow& row) {
  const int64_t size = p.experts / p.groups;
  for (int64_t g = 0; g < p.groups; ++g) {
    const double* keys = row.keys + g * size;
    uint8_t* taken = row.taken + g * size;
    const int64_t first = Largest(keys, taken, size);
    row.group_keys[g] = keys[first];
    if (p.routing == Routing::kNoAuxTc && size > 1) {
      taken[first] = 1;
      row.group_keys[g] += keys[Largest(keys, taken, size)];
      taken[first] = 0;
    }
  }
  std::fill(row.group_kept, row.group_kept + p.groups, uint8_t{0});
  for (int64_t i = 0; i < std::min(p.top_groups, p.groups); ++i) {
    row.group_kept[Largest(row.group_keys, row.group_kept, p.groups)] = 1;
  }
  for (int64_t e = 0; e < p.experts; ++e) row.taken[e] = !row.group_kept[e / size];
}

// Chooses ids, ascending. When fewer than `chosen` are open (a group too few), the lowest closed ones fill
// up, so that ids are distinct and in range whatever the numbers are.
void ChooseRow(const RouterParams& p, const RouterRow& row, int32_t* ids) {
  for (int64_t j = 0; j < p.chosen; ++j) {
    int64_t best = Largest(row.keys, row.taken, p.experts);
    for (int64_t e = 0; best < 0; ++e) {
      if (std::find(ids, ids + j, static_cast<int32_t>(e)) == ids + j) best = e;
    }
    row.taken[best] = 1;
    ids[j] = static_cast<int32_t>(best);
  }
  std::sort(ids, ids + p.chosen);
}

void WeighRow(const RouterParams& p, const double* scores, const int32_t* ids, float* weights) {
  // V3 normalises and scales; V2 does one or the other.
  const bool v3 = p.routing == Routing::kNoAuxTc;
  const bool normalize = p.normalize && (v3 || p.chosen > 1);
  double factor = v3 || !normalize ? p.routed_scaling : 1.0;
  if (normalize) {
    double sum = 1e-20;
    for (int64_t j = 0; j < p.chosen; ++j) sum += scores[ids[j]];
    factor /= sum;
  }
  for (int64_t j = 0; j < p.chosen; ++j) weights[j] = static_cast<float>(scores[ids[j]] * factor);
}

}  // namespace

int64_t TopKRouter::ScratchBytes(const BackendShapes& shapes, int threads) {
  return RowBytes(shapes.experts) * threads + shapes.experts * static_cast<int64_t>(sizeof(float));
}

Status TopKRouter::Prepare(const BackendShapes& shapes, int threads) {
  Result<AlignedBuffer> memory =
      AlignedBuffer::Allocate(static_cast<size_t>(ScratchBytes(shapes, threads)), "router scratch");
  if (!memory.ok()) return memory.status();
  memory_ = std::move(memory.value());
  return {};
}

void TopKRouter::Route(const RouterParams& p, ThreadPool& pool) const {
  constexpr int64_t kRowsPerChunk = 8;
  float* bias = reinterpret_cast<float*>(memory_.data() + RowBytes(p.experts) * pool.threads());
  if (p.bias != nullptr && p.bias->present()) {
    DecodeRow(*p.bias, 0, bias);
  } else {
    std::fill(bias, bias + p.experts, 0.0f);
  }
  pool.For(p.logits.rows, kRowsPerChunk, [&](int64_t first, int64_t last, int thread) {
    const RouterRow row = RowOf(memory_.data() + RowBytes(p.experts) * thread, p.experts);
    for (int64_t t = first; t < last; ++t) {
      int32_t* ids = p.expert_ids + t * p.chosen;
      ScoreRow(p, p.logits.row(t), row.scores);
      for (int64_t e = 0; e < p.experts; ++e) row.keys[e] = row.scores[e] + bias[e];
      const bool sound =
          std::none_of(row.keys, row.keys + p.experts, [](double key) { return std::isnan(key); });
      std::fill(row.taken, row.taken + p.experts, uint8_t{0});
      if (p.routing != Routing::kGreedy && p.groups > 1) TakeOtherGroups(p, row);
      ChooseRow(p, row, ids);
      float* weights = p.expert_weights + t * p.chosen;
      WeighRow(p, row.scores, ids, weights);
      // Else the expert with the NaN would quietly never be chosen.
      if (!sound) std::fill_n(weights, p.chosen, std::numeric_limits<float>::quiet_NaN());
    }
  });
}

}  // namespace k2
