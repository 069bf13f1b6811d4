#include "cuda/cuda_backend.h"

#include <algorithm>
#include <cmath>

namespace k2::cuda {
namespace {

constexpr int64_t kMostBlocks = 65535;  // of a grid's second dimension

}  // namespace

// Backend::Prepare is left out: its memory is for the composed feed-forwards, and ours are fused.
Status CudaBackend::Prepare(const BackendShapes& shapes) {
  const struct {
    const char* name;
    int64_t value, most;
  } limits[] = {{"n_routed_experts", shapes.experts, kMostExperts},
                {"num_experts_per_tok", shapes.chosen, kMostChosen},
                {"batchTokens times num_experts_per_tok",
                 shapes.batch_tokens * std::max<int64_t>(shapes.chosen, 1), kMostBlocks}};
  for (const auto& limit : limits) {
    if (limit.value <= limit.most) continue;
    return Status(ErrorCode::kUnavailable, "Expected at most " + std::to_string(limit.most) + " for " +
                                               limit.name + " on device cuda, got " +
                                               std::to_string(limit.value));
  }
  K2_RETURN_IF_ERROR(experts_.Prepare(shapes, *device_));
  return attention_.Prepare(shapes, *device_);
}

// They are sent when they are first used, which is too late to find that they have no room.
Status CudaBackend::HoldWeights(int64_t bytes) {
  Result<size_t> free = device_->FreeBytes();
  if (!free.ok()) return free.status();
  if (static_cast<uint64_t>(bytes) <= free.value()) return {};
  return Status(ErrorCode::kOutOfMemory, "Expected " + std::to_string(bytes) +
                                             " bytes of weights to fit on " + device_->name() + ", got " +
                                             std::to_string(free.value()) + " bytes free");
}

int64_t CudaBackend::ScratchBytes(const BackendShapes& shapes) const {
  return Attention::ScratchBytes(shapes) + Experts::ScratchBytes(shapes);
}

int64_t CudaBackend::CacheBytesPerToken(const BackendShapes& shapes) const {
  return Attention::CacheBytesPerToken(shapes);
}

void CudaBackend::Embed(const EmbedParams& p) {
  const std::vector<int32_t> ids(p.ids.begin(), p.ids.end());
  encoder_.Launch(std::string("k2_embed_") + FormatName(p.table->storage),
                  EmbedArguments{.table = encoder_.Of(*p.table, Layout::kRows),
                                 .ids = encoder_.Upload(ids),
                                 .y = encoder_.Write(p.y),
                                 .y_stride = Narrow(p.y.stride),
                                 .columns = Narrow(p.y.columns)},
                  RowGrid(p.y.columns, p.y.rows), kRowThreads);
}

void CudaBackend::RmsNorm(const RmsNormParams& p) {
  encoder_.Launch("k2_rms_norm",
                  NormArguments{.w = encoder_.Of(*p.w, Layout::kRows),
                                .x = encoder_.Read(p.x),
                                .y = encoder_.Write(p.y),
                                .x_stride = Narrow(p.x.stride),
                                .y_stride = Narrow(p.y.stride),
                                .columns = Narrow(p.x.columns),
                                .eps = static_cast<float>(p.eps)},
                  {Narrow(p.x.rows)}, kRowThreads);
}

void CudaBackend::Linear(const LinearParams& p) { experts_.Linear(p, encoder_); }

// A float angle of a far position would be off by its last bits times the position, and GPUs are slow at
// double.
Address CudaBackend::TurnsOf(const RopeParams& p) {
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

void CudaBackend::Rope(const RopeParams& p) {
  const int64_t pairs = static_cast<int64_t>(p.inverse_frequencies.size());
  encoder_.Launch("k2_rope",
                  RopeArguments{.x = encoder_.Write(p.x),
                                .turns = TurnsOf(p),
                                .x_stride = Narrow(p.x.stride),
                                .heads = Narrow(p.heads),
                                .head_width = Narrow(p.head_width),
                                .rope_dim = Narrow(2 * pairs)},
                  RowGrid(p.heads * pairs, p.x.rows), kRowThreads);
}

void CudaBackend::AppendKv(const AppendKvParams& p) { attention_.AppendKv(p, encoder_); }
void CudaBackend::LatentAttention(const LatentAttentionParams& p) { attention_.LatentAttention(p, encoder_); }

void CudaBackend::Router(const RouterParams& p) {
  const int64_t rows = p.logits.rows, bytes = rows * p.chosen * static_cast<int64_t>(sizeof(int32_t));
  RouterArguments arguments = {};
  if (p.bias != nullptr) arguments.bias = encoder_.Of(*p.bias, Layout::kRows);
  arguments.logits = encoder_.Read(p.logits);
  arguments.ids = encoder_.Use(p.expert_ids, bytes, Access::kWrite);
  arguments.weights = encoder_.Use(p.expert_weights, bytes, Access::kWrite);
  arguments.logits_stride = Narrow(p.logits.stride);
  arguments.experts = Narrow(p.experts);
  arguments.chosen = Narrow(p.chosen);
  arguments.groups = Narrow(p.groups);
  arguments.top_groups = Narrow(p.top_groups);
  arguments.scoring = static_cast<uint>(p.scoring);
  arguments.routing = static_cast<uint>(p.routing);
  arguments.normalize = p.normalize;
  arguments.routed_scaling = static_cast<float>(p.routed_scaling);
  encoder_.Launch("k2_router", arguments, {Narrow(rows)}, kLanes);
}

void CudaBackend::SwiGlu(const SwiGluParams& p) {
  encoder_.Launch("k2_swiglu",
                  RowsArguments{.a = encoder_.Read(p.gate),
                                .b = encoder_.Read(p.up),
                                .y = encoder_.Write(p.y),
                                .a_stride = Narrow(p.gate.stride),
                                .b_stride = Narrow(p.up.stride),
                                .y_stride = Narrow(p.y.stride),
                                .columns = Narrow(p.y.columns)},
                  RowGrid(p.y.columns, p.y.rows), kRowThreads);
}

void CudaBackend::Add(const AddParams& p) {
  encoder_.Launch("k2_add",
                  RowsArguments{.a = encoder_.Read(p.x),
                                .b = 0,
                                .y = encoder_.Write(p.y),
                                .a_stride = Narrow(p.x.stride),
                                .b_stride = 0,
                                .y_stride = Narrow(p.y.stride),
                                .columns = Narrow(p.y.columns)},
                  RowGrid(p.y.columns, p.y.rows), kRowThreads);
}

void CudaBackend::FeedForward(const FeedForwardParams& p) { experts_.FeedForward(p, encoder_); }
void CudaBackend::RoutedExperts(const RoutedExpertsParams& p) { experts_.RoutedExperts(p, encoder_); }

Status CudaBackend::Synchronize() {
  Status status = encoder_.Finish();
  turns_ = {};  // uploads end here
  experts_.Finished();
  return status;
}

}  // namespace k2::cuda
