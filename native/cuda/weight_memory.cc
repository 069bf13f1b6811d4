#include "cuda/weight_memory.h"

#include <algorithm>

#include "base/fault_guard.h"

namespace k2::cuda {
namespace {

constexpr size_t kChunkBytes = size_t{64} << 20, kStepChunkBytes = size_t{1} << 20;

}  // namespace

WeightMemory::WeightMemory(Device& device)
    : device_(device),
      lasting_(device, kChunkBytes, "weights"),
      of_step_(device, kStepChunkBytes, "weights") {}

Result<WeightArguments> WeightMemory::Of(const Weight& weight, Layout layout, bool* is_lasting) {
  if (!weight.present()) return WeightArguments{};
  const bool lasts = !GuardedRange(weight.data).empty();
  if (is_lasting != nullptr) *is_lasting = *is_lasting && lasts;
  auto& known = lasts ? lasting_weights_ : weights_of_step_;
  if (const auto found = known.find({weight.data, layout}); found != known.end()) return found->second;
  Result<WeightArguments> sent = Send(weight, layout, lasts ? lasting_ : of_step_);
  if (sent.ok()) known[{weight.data, layout}] = sent.value();
  return sent;
}

Result<WeightArguments> WeightMemory::Send(const Weight& weight, Layout layout, Arena& arena) {
  const auto narrow = [](int64_t number) { return static_cast<uint>(number); };
  const int64_t pieces = Pieces(weight, layout), piece_bytes = PieceBytes(weight, layout);
  Result<Address> data = arena.Take(static_cast<size_t>(pieces * piece_bytes));
  if (!data.ok()) return data.status();
  const int64_t at_once =
      std::max<int64_t>(1, static_cast<int64_t>(device_.staging_bytes()) / 4 / piece_bytes);
  for (int64_t first = 0; first < pieces; first += at_once) {
    const int64_t count = std::min(at_once, pieces - first);
    const size_t bytes = static_cast<size_t>(count * piece_bytes);
    Result<uint8_t*> staged = device_.Stage(bytes);
    if (!staged.ok()) return staged.status();
    for (int64_t i = 0; i < count; ++i) LayOut(weight, layout, first + i, staged.value() + i * piece_bytes);
    K2_RETURN_IF_ERROR(
        device_.Send(data.value() + static_cast<Address>(first * piece_bytes), staged.value(), bytes));
  }
  WeightArguments w = {};
  w.data = data.value();
  w.storage = static_cast<uint>(weight.storage);
  w.scale_storage = static_cast<uint>(weight.scale_storage);
  w.rows = narrow(weight.rows);
  w.columns = narrow(weight.columns);
  w.row_bytes = narrow(piece_bytes);
  w.is_tiled = layout == Layout::kTiles;
  if (weight.scales == nullptr || weight.scale_bytes() == 0) return w;
  w.block_rows = narrow(weight.block_rows);
  w.block_columns = narrow(weight.block_columns);
  w.scale_columns = narrow(weight.scale_columns());
  const size_t scale_bytes = static_cast<size_t>(weight.scale_bytes());
  Result<Address> scales = arena.Take(scale_bytes);
  if (!scales.ok()) return scales.status();
  w.scales = scales.value();
  K2_RETURN_IF_ERROR(device_.Write(w.scales, weight.scales, scale_bytes));
  return w;
}

void WeightMemory::EndStep() {
  weights_of_step_.clear();
  of_step_.Clear();
}

}  // namespace k2::cuda
