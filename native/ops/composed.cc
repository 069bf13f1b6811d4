// Coarse ops built from fine ones: what a backend gets for free, and the slow twin of what it fuses.
#include <algorithm>
#include <cstring>

#include "ops/backend.h"

namespace k2 {
namespace {

int64_t WidestFeedForward(const BackendShapes& s) { return std::max(s.dense_width, s.expert_width); }

}  // namespace

int64_t Backend::ScratchBytes(const BackendShapes& shapes) const {
  return shapes.batch_tokens * 2 * (WidestFeedForward(shapes) + shapes.hidden) *
         static_cast<int64_t>(sizeof(float));
}

Status Backend::Prepare(const BackendShapes& shapes) {
  const size_t bytes = static_cast<size_t>(Backend::ScratchBytes(shapes));
  Result<AlignedBuffer> buffer = AlignedBuffer::Allocate(bytes, "feed-forward activations");
  if (!buffer.ok()) return buffer.status();
  composed_scratch_ = std::move(buffer.value());
  float* next = composed_scratch_.as<float>();
  const int64_t rows = shapes.batch_tokens;
  const auto take = [&](int64_t columns) {
    Tensor tensor{next, rows, columns, columns};
    next += rows * columns;
    return tensor;
  };
  scratch_gate_ = take(WidestFeedForward(shapes));
  scratch_up_ = take(WidestFeedForward(shapes));
  scratch_in_ = take(shapes.hidden);
  scratch_out_ = take(shapes.hidden);
  return {};
}

void Backend::FeedForward(const FeedForwardParams& p) {
  const Tensor gate = scratch_gate_.Rows(p.x.rows).Columns(0, p.weights.gate->rows);
  const Tensor up = scratch_up_.Rows(p.x.rows).Columns(0, p.weights.up->rows);
  Linear({.x = p.x, .w = p.weights.gate, .y = gate});
  Linear({.x = p.x, .w = p.weights.up, .y = up});
  SwiGlu({.gate = gate, .up = up, .y = gate});
  Linear({.x = gate, .w = p.weights.down, .y = p.y});
}

// Expert by expert in ascending id, so that every token adds its experts in ascending id too.
void Backend::RoutedExperts(const RoutedExpertsParams& p) {
  const int64_t tokens = p.x.rows;
  const int64_t end = std::min<int64_t>(p.end_expert, static_cast<int64_t>(p.experts.size()));
  for (int64_t e = p.first_expert; e < end; ++e) {
    int64_t gathered = 0;
    const auto for_each_token = [&](auto&& visit) {
      for (int64_t t = 0; t < tokens; ++t) {
        for (int64_t j = 0; j < p.chosen; ++j) {
          if (p.expert_ids[t * p.chosen + j] == e) visit(t, p.expert_weights[t * p.chosen + j]);
        }
      }
    };
    for_each_token([&](int64_t t, float) {
      std::memcpy(scratch_in_.row(gathered++), p.x.row(t), sizeof(float) * static_cast<size_t>(p.x.columns));
    });
    if (gathered == 0) continue;
    FeedForward({.x = scratch_in_.Rows(gathered),
                 .weights = p.experts[static_cast<size_t>(e)],
                 .y = scratch_out_.Rows(gathered)});
    int64_t scattered = 0;
    for_each_token([&](int64_t t, float weight) {
      const float* out = scratch_out_.row(scattered++);
      float* y = p.y.row(t);
      for (int64_t d = 0; d < p.y.columns; ++d) y[d] += weight * out[d];
    });
  }
}

}  // namespace k2
