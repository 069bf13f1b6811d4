#include "metal/experts.h"

#include <algorithm>
#include <cstring>

namespace k2::metal {
namespace {

// From this many tokens on, pairs are sorted by expert; fewer rarely meet at one.
constexpr int64_t kSortTokens = 8;
constexpr Storage kStorages[] = {Storage::kBf16, Storage::kF16, Storage::kF32, Storage::kF8E4m3,
                                 Storage::kInt4};
enum Part { kGate, kUp, kDown };

struct Scratch {
  int64_t hidden, out, sorted, tiles;  // bytes, each a multiple of 16

  explicit Scratch(const BackendShapes& s) {
    const int64_t pairs = s.batch_tokens * s.chosen;
    const auto whole = [](int64_t bytes) { return (bytes + 15) / 16 * 16; };
    const int64_t number = static_cast<int64_t>(sizeof(float));
    hidden = whole(std::max(pairs * s.expert_width, s.batch_tokens * s.dense_width) * number);
    out =
        whole(std::max(pairs * std::max(s.hidden, s.expert_width), s.batch_tokens * s.dense_width) * number);
    sorted = whole(pairs * number);
    tiles = whole(MostTiles(pairs, s.experts) * static_cast<int64_t>(sizeof(ExpertTile)));
  }
  int64_t bytes() const { return hidden + out + sorted + tiles; }

  static int64_t MostTiles(int64_t pairs, int64_t experts) {
    return pairs / K2_PRODUCT_TOKENS + std::min(pairs, experts);
  }
};

bool Has(std::span<const ExpertArguments> experts, int part, Storage storage) {
  return std::any_of(experts.begin(), experts.end(), [&](const ExpertArguments& expert) {
    return expert.parts[part].storage == static_cast<uint>(storage);
  });
}

std::string KernelOf(const char* name, Storage storage, bool is_tiled) {
  return std::string(name) + FormatName(storage) + (is_tiled ? "_4" : "_1");
}

// One product per format that the part has; a kernel leaves the experts of other formats alone.
void EncodePart(const ExpertsArguments& a, std::span<const ExpertArguments> experts, int64_t rows,
                uint32_t tiles, bool is_tiled, Encoder& encoder) {
  for (Storage storage : kStorages) {
    if (!Has(experts, static_cast<int>(a.part), storage)) continue;
    encoder.Dispatch(KernelOf("experts_part_", storage, is_tiled), a, {GroupsOf(rows, kProductRows), tiles},
                     kProductThreads);
  }
}

}  // namespace

void EncodeLinear(const WeightArguments& w, Storage storage, Address x, int64_t x_stride, Address y,
                  int64_t y_stride, int64_t tokens, Encoder& encoder) {
  encoder.Dispatch(std::string("linear_") + FormatName(storage) + (tokens == 1 ? "_1" : "_4"),
                   LinearArguments{.w = w,
                                   .x = x,
                                   .y = y,
                                   .x_stride = Narrow(x_stride),
                                   .y_stride = Narrow(y_stride),
                                   .tokens = Narrow(tokens),
                                   .unused = 0},
                   {GroupsOf(w.rows, kProductRows), GroupsOf(tokens, tokens == 1 ? 1 : K2_PRODUCT_TOKENS)},
                   kProductThreads);
}

int64_t Experts::ScratchBytes(const BackendShapes& shapes) { return Scratch(shapes).bytes(); }

Status Experts::Prepare(const BackendShapes& shapes, Device& device) {
  device_ = &device;
  const Scratch scratch(shapes);
  Result<std::unique_ptr<DeviceMemory>> memory =
      device.Allocate(static_cast<size_t>(scratch.bytes()), "feed-forward activations");
  if (!memory.ok()) return memory.status();
  scratch_ = std::move(memory.value());
  hidden_ = scratch_->address();
  out_ = hidden_ + static_cast<Address>(scratch.hidden);
  sorted_ = out_ + static_cast<Address>(scratch.out);
  tiles_ = sorted_ + static_cast<Address>(scratch.sorted);
  return {};
}

void Experts::GateUp(ExpertsArguments a, std::span<const ExpertArguments> experts, int64_t width,
                     bool is_tiled, Encoder& encoder) const {
  a.y = hidden_;
  a.y_stride = a.columns = Narrow(width);
  const uint32_t tiles = a.tile_count;
  const bool is_fused = std::all_of(experts.begin(), experts.end(), [](const ExpertArguments& expert) {
    return expert.parts[kGate].storage == expert.parts[kUp].storage;
  });
  if (is_fused) {
    for (Storage storage : kStorages) {
      if (!Has(experts, kGate, storage)) continue;
      encoder.Dispatch(KernelOf("experts_gate_up_", storage, is_tiled), a,
                       {GroupsOf(width, kProductRows), tiles}, kProductThreads);
    }
    return;
  }
  a.part = kGate;
  EncodePart(a, experts, width, tiles, is_tiled, encoder);
  a.part = kUp;
  a.y = out_;
  EncodePart(a, experts, width, tiles, is_tiled, encoder);
  const uint stride = Narrow(width);
  encoder.Dispatch("SwiGlu",
                   RowsArguments{.a = hidden_,
                                 .b = out_,
                                 .y = hidden_,
                                 .a_stride = stride,
                                 .b_stride = stride,
                                 .y_stride = stride,
                                 .columns = stride},
                   {GroupsOf(width, K2_ROW_THREADS), a.pairs}, K2_ROW_THREADS);
}

void Experts::FeedForward(const FeedForwardParams& p, Encoder& encoder) const {
  const Expert& w = p.weights;
  const int64_t tokens = p.x.rows, width = w.gate->rows;
  const bool is_tiled = tokens > 1;
  const std::vector<ExpertArguments> experts = {
      {{encoder.Of(*w.gate), encoder.Of(*w.up), encoder.Of(*w.down)}}};
  ExpertsArguments a = {};
  a.experts = encoder.Upload(experts);
  a.x = encoder.Of(p.x);
  a.x_stride = Narrow(p.x.stride);
  a.pairs = Narrow(tokens);
  a.chosen = a.expert_count = a.end_expert = a.pairs_a_row = 1;
  a.tile_count = GroupsOf(tokens, is_tiled ? K2_PRODUCT_TOKENS : 1);
  GateUp(a, experts, width, is_tiled, encoder);
  EncodeLinear(experts[0].parts[kDown], w.down->storage, hidden_, width, encoder.Of(p.y), p.y.stride, tokens,
               encoder);
}

const Experts::Table* Experts::TableOf(std::span<const Expert> experts, Encoder& encoder) {
  std::vector<const uint8_t*> weights;
  weights.reserve(experts.size() * 3);
  for (const Expert& expert : experts) {
    for (const Weight* w : {expert.gate, expert.up, expert.down}) weights.push_back(w->data);
  }
  Table& table = tables_[experts.data()];
  if (table.is_lasting && table.weights == weights) return &table;
  if (table.memory != nullptr) retired_.push_back(std::move(table.memory));
  table = {};
  table.is_lasting = true;
  for (const Expert& expert : experts) {
    table.experts.push_back(
        {{encoder.Of(*expert.gate, &table.is_lasting), encoder.Of(*expert.up, &table.is_lasting),
          encoder.Of(*expert.down, &table.is_lasting)}});
  }
  const size_t bytes = table.experts.size() * sizeof(ExpertArguments);
  Result<std::unique_ptr<DeviceMemory>> memory = device_->Allocate(bytes, "the table of experts");
  if (!memory.ok()) encoder.Fail(memory.status());
  if (!encoder.ok()) {
    tables_.erase(experts.data());
    return nullptr;
  }
  table.memory = std::move(memory.value());
  std::memcpy(table.memory->data(), table.experts.data(), bytes);
  table.weights = std::move(weights);
  return &table;
}

void Experts::RoutedExperts(const RoutedExpertsParams& p, Encoder& encoder) {
  const Table* const table = TableOf(p.experts, encoder);
  if (table == nullptr) return;
  const std::span<const ExpertArguments> experts = table->experts;
  const int64_t tokens = p.x.rows, pairs = tokens * p.chosen, hidden = p.y.columns;
  const int64_t width = p.experts[0].gate->rows, bytes = pairs * static_cast<int64_t>(sizeof(int32_t));
  ExpertsArguments a = {};
  a.experts = table->memory->address();
  a.ids = encoder.Of(p.expert_ids, bytes);
  a.weights = encoder.Of(p.expert_weights, bytes);
  a.x = encoder.Of(p.x);
  a.x_stride = Narrow(p.x.stride);
  a.pairs = Narrow(pairs);
  a.chosen = a.pairs_a_row = Narrow(p.chosen);
  a.expert_count = Narrow(static_cast<int64_t>(experts.size()));
  a.first_expert = static_cast<uint>(p.first_expert);
  a.end_expert = static_cast<uint>(std::min<int64_t>(p.end_expert, a.expert_count));
  a.tile_count = a.pairs;
  const bool is_sorted = tokens >= kSortTokens;
  if (is_sorted) {
    a.sorted = sorted_;
    a.tiles = tiles_;
    a.tile_pairs = K2_PRODUCT_TOKENS;
    a.tile_count = Narrow(Scratch::MostTiles(pairs, static_cast<int64_t>(experts.size())));
    encoder.Dispatch("SortPairs", a, {1}, K2_ROW_THREADS);
  }
  GateUp(a, experts, width, is_sorted, encoder);

  const Tensor& y = p.y;
  a.x = hidden_;
  a.x_stride = Narrow(width);
  a.columns = Narrow(hidden);
  const auto has = [&](Storage storage) { return Has(experts, kDown, storage); };
  if (!is_sorted && std::count_if(std::begin(kStorages), std::end(kStorages), has) == 1) {
    a.y = encoder.Of(y);
    a.y_stride = Narrow(y.stride);
    const Storage storage = p.experts[0].down->storage;
    encoder.Dispatch(std::string("experts_down_") + FormatName(storage), a,
                     {GroupsOf(hidden, kProductRows), Narrow(tokens)}, kProductThreads);
    return;
  }
  a.part = kDown;
  a.pairs_a_row = 1;
  a.y = out_;
  a.y_stride = Narrow(hidden);
  EncodePart(a, experts, hidden, a.tile_count, is_sorted, encoder);
  a.x = out_;
  a.x_stride = Narrow(hidden);
  a.y = encoder.Of(y);
  a.y_stride = Narrow(y.stride);
  encoder.Dispatch("ExpertsAdd", a, {GroupsOf(hidden, K2_ROW_THREADS), Narrow(tokens)}, K2_ROW_THREADS);
}

}  // namespace k2::metal
