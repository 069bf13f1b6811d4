#include "metal/metal_backend.h"

#include <algorithm>
#include <cmath>

namespace k2::metal {
namespace {

// One thread per number: groups of columns, and rows.
Grid RowGrid(int64_t columns, int64_t rows) { return {GroupsOf(columns, K2_ROW_THREADS), Narrow(rows)}; }

}  // namespace

// Backend::Prepare is left out: its memory is for the composed feed-forwards, and ours are fused.
Status MetalBackend::Prepare(const BackendShapes& shapes) {
  const struct {
    const char* name;
    int64_t value, most;
  } limits[] = {{"n_routed_experts", shapes.experts, K2_MOST_EXPERTS},
                {"num_experts_per_tok", shapes.chosen, K2_MOST_CHOSEN}};
  for (const auto& limit : limits) {
    if (limit.value <= limit.most) continue;
    return Status(ErrorCode::kUnavailable, "Expected at most " + std::to_string(limit.most) + " for " +
                                               limit.name + " on device metal, got " +
                                               std::to_string(limit.value));
  }
  K2_RETURN_IF_ERROR(experts_.Prepare(shapes, *device_));
  return attention_.Prepare(shapes, *device_);
}

int64_t MetalBackend::ScratchBytes(const BackendShapes& shapes) const {
  return Attention::ScratchBytes(shapes) + Experts::ScratchBytes(shapes);
}

int64_t MetalBackend::CacheBytesPerToken(const BackendShapes& shapes) const {
  return Attention::CacheBytesPerToken(shapes);
}

void MetalBackend::Embed(const EmbedParams& p) {
  const std::vector<int32_t> ids(p.ids.begin(), p.ids.end());
  encoder_.Dispatch(std::string("embed_") + FormatName(p.table->storage),
                    EmbedArguments{.table = encoder_.Of(*p.table),
                                   .ids = encoder_.Upload(ids),
                                   .y = encoder_.Of(p.y),
                                   .y_stride = Narrow(p.y.stride),
                                   .columns = Narrow(p.y.columns)},
                    RowGrid(p.y.columns, p.y.rows), K2_ROW_THREADS);
}

void MetalBackend::RmsNorm(const RmsNormParams& p) {
  encoder_.Dispatch("RmsNorm",
                    NormArguments{.w = encoder_.Of(*p.w),
                                  .x = encoder_.Of(p.x),
                                  .y = encoder_.Of(p.y),
                                  .x_stride = Narrow(p.x.stride),
                                  .y_stride = Narrow(p.y.stride),
                                  .columns = Narrow(p.x.columns),
                                  .eps = static_cast<float>(p.eps)},
                    {Narrow(p.x.rows)}, K2_ROW_THREADS);
}

// Nothing is ever rounded below float here, so full_precision asks for nothing more.
void MetalBackend::Linear(const LinearParams& p) {
  if (p.x.rows == 0) return;
  EncodeLinear(encoder_.Of(*p.w), p.w->storage, encoder_.Of(p.x), p.x.stride, encoder_.Of(p.y), p.y.stride,
               p.x.rows, encoder_);
}

// The GPU has no double, and a float angle of a far position would be off by its last bits times the
// position.
Address MetalBackend::TurnsOf(const RopeParams& p) {
  const auto same = [](const auto& kept, const auto& now) {
    return std::equal(kept.begin(), kept.end(), now.begin(), now.end());
  };
  if (turns_.address != 0 && turns_.magnitude == p.magnitude && same(turns_.positions, p.positions) &&
      same(turns_.frequencies, p.inverse_frequencies)) {
    return turns_.address;
  }
  std::vector<float> numbers;
  numbers.reserve(p.positions.size() * p.inverse_frequencies.size() * 2);
  for (int64_t position : p.positions) {
    for (double frequency : p.inverse_frequencies) {
      const double angle = static_cast<double>(position) * frequency;
      numbers.push_back(static_cast<float>(std::cos(angle) * p.magnitude));
      numbers.push_back(static_cast<float>(std::sin(angle) * p.magnitude));
    }
  }
  turns_ = {.positions = {p.positions.begin(), p.positions.end()},
            .frequencies = {p.inverse_frequencies.begin(), p.inverse_frequencies.end()},
            .magnitude = p.magnitude,
            .address = encoder_.Upload(numbers)};
  return turns_.address;
}

void MetalBackend::Rope(const RopeParams& p) {
  const int64_t pairs = static_cast<int64_t>(p.inverse_frequencies.size());
  encoder_.Dispatch("Rope",
                    RopeArguments{.x = encoder_.Of(p.x),
                                  .turns = TurnsOf(p),
                                  .x_stride = Narrow(p.x.stride),
                                  .heads = Narrow(p.heads),
                                  .head_width = Narrow(p.head_width),
                                  .rope_dim = Narrow(2 * pairs)},
                    RowGrid(p.heads * pairs, p.x.rows), K2_ROW_THREADS);
}

void MetalBackend::AppendKv(const AppendKvParams& p) { attention_.AppendKv(p, encoder_); }
void MetalBackend::LatentAttention(const LatentAttentionParams& p) {
  attention_.LatentAttention(p, encoder_);
}

void MetalBackend::Router(const RouterParams& p) {
  const int64_t rows = p.logits.rows, bytes = rows * p.chosen * static_cast<int64_t>(sizeof(int32_t));
  RouterArguments arguments = {};
  if (p.bias != nullptr) arguments.bias = encoder_.Of(*p.bias);
  arguments.logits = encoder_.Of(p.logits);
  arguments.ids = encoder_.Of(p.expert_ids, bytes);
  arguments.weights = encoder_.Of(p.expert_weights, bytes);
  arguments.logits_stride = Narrow(p.logits.stride);
  arguments.experts = Narrow(p.experts);
  arguments.chosen = Narrow(p.chosen);
  arguments.groups = Narrow(p.groups);
  arguments.top_groups = Narrow(p.top_groups);
  arguments.scoring = static_cast<uint>(p.scoring);
  arguments.routing = static_cast<uint>(p.routing);
  arguments.normalize = p.normalize;
  arguments.routed_scaling = static_cast<float>(p.routed_scaling);
  encoder_.Dispatch("Router", arguments, {Narrow(rows)}, K2_LANES);
}

void MetalBackend::SwiGlu(const SwiGluParams& p) {
  encoder_.Dispatch("SwiGlu",
                    RowsArguments{.a = encoder_.Of(p.gate),
                                  .b = encoder_.Of(p.up),
                                  .y = encoder_.Of(p.y),
                                  .a_stride = Narrow(p.gate.stride),
                                  .b_stride = Narrow(p.up.stride),
                                  .y_stride = Narrow(p.y.stride),
                                  .columns = Narrow(p.y.columns)},
                    RowGrid(p.y.columns, p.y.rows), K2_ROW_THREADS);
}

void MetalBackend::Add(const AddParams& p) {
  encoder_.Dispatch("Add",
                    RowsArguments{.a = encoder_.Of(p.x),
                                  .b = 0,
                                  .y = encoder_.Of(p.y),
                                  .a_stride = Narrow(p.x.stride),
                                  .b_stride = 0,
                                  .y_stride = Narrow(p.y.stride),
                                  .columns = Narrow(p.y.columns)},
                    RowGrid(p.y.columns, p.y.rows), K2_ROW_THREADS);
}

void MetalBackend::FeedForward(const FeedForwardParams& p) { experts_.FeedForward(p, encoder_); }
void MetalBackend::RoutedExperts(const RoutedExpertsParams& p) { experts_.RoutedExperts(p, encoder_); }

Status MetalBackend::Synchronize() {
  Status status = encoder_.Finish();
  turns_ = {};  // uploads end here
  experts_.Finished();
  return status;
}

}  // namespace k2::metal
