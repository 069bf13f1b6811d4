#include "cuda/experts.h"

#include <algorithm>

namespace k2::cuda {
namespace {

constexpr Storage kStorages[] = {Storage::kBf16, Storage::kF16, Storage::kF32, Storage::kF8E4m3,
                                 Storage::kInt4};
enum Part { kGate, kUp, kDown };

int64_t Padded(int64_t columns) { return (columns + kTileColumns - 1) / kTileColumns * kTileColumns; }

struct Scratch {
  int64_t hidden, out, rounded, sorted, tiles;  // bytes, each a multiple of 256

  explicit Scratch(const BackendShapes& s) {
    const int64_t pairs = s.batch_tokens * s.chosen;
    const auto whole = [](int64_t bytes) { return (bytes + 255) / 256 * 256; };
    const int64_t number = static_cast<int64_t>(sizeof(float));
    hidden = whole(std::max(pairs * s.expert_width, s.batch_tokens * s.dense_width) * number);
    out =
        whole(std::max(pairs * std::max(s.hidden, s.expert_width), s.batch_tokens * s.dense_width) * number);
    const int64_t widest = std::max({s.widest_input, s.hidden, s.dense_width});
    rounded = whole(std::max(pairs * Padded(s.expert_width), s.batch_tokens * Padded(widest)) *
                    static_cast<int64_t>(sizeof(uint16_t)));
    sorted = whole(pairs * number);
    tiles = whole(MostTiles(pairs, s.experts, kTileTokens) * static_cast<int64_t>(sizeof(ExpertTile)));
  }
  int64_t bytes() const { return hidden + out + rounded + sorted + tiles; }

  static int64_t MostTiles(int64_t pairs, int64_t experts, int64_t tile_pairs) {
    return pairs / tile_pairs + std::min(pairs, experts);
  }
};

// How many tiles of tokens share the reading of a weight. A token's bits are the same in either.
int64_t TokenTiles(int64_t tokens) { return tokens <= kTileTokens ? 1 : kMostTokenTiles; }

std::string KernelOf(const char* name, Storage storage, int64_t number) {
  return std::string(name) + FormatName(storage) + "_" + std::to_string(number);
}

bool Is(const WeightArguments& w, Storage storage, bool tiled) {
  return w.storage == static_cast<uint>(storage) && (w.is_tiled != 0) == tiled;
}

bool Has(std::span<const ExpertArguments> experts, uint part, Storage storage, bool tiled) {
  return std::any_of(experts.begin(), experts.end(),
                     [&](const ExpertArguments& expert) { return Is(expert.parts[part], storage, tiled); });
}

Layout LayoutOf(const Weight& w) { return CanBeTiled(w) ? Layout::kTiles : Layout::kRows; }

}  // namespace

int64_t Experts::ScratchBytes(const BackendShapes& shapes) { return Scratch(shapes).bytes(); }

Status Experts::Prepare(const BackendShapes& shapes, Device& device) {
  const Scratch scratch(shapes);
  Result<DeviceMemory> memory =
      device.Allocate(static_cast<size_t>(scratch.bytes()), "feed-forward activations");
  if (!memory.ok()) return memory.status();
  scratch_ = std::move(memory.value());
  hidden_ = scratch_.address();
  out_ = hidden_ + static_cast<Address>(scratch.hidden);
  rounded_ = out_ + static_cast<Address>(scratch.out);
  sorted_ = rounded_ + static_cast<Address>(scratch.rounded);
  tiles_ = sorted_ + static_cast<Address>(scratch.sorted);
  return {};
}

uint Experts::Round(Address x, int64_t stride, int64_t columns, int64_t rows, Encoder& encoder) const {
  const int64_t padded = Padded(columns);
  encoder.Launch("k2_round_rows",
                 RoundArguments{.x = x,
                                .y = rounded_,
                                .x_stride = Narrow(stride),
                                .y_stride = Narrow(padded),
                                .columns = Narrow(columns),
                                .unused = 0},
                 RowGrid(padded, rows), kRowThreads);
  return Narrow(padded);
}

void Experts::Linear(const LinearParams& p, Encoder& encoder) const {
  const int64_t tokens = p.x.rows;
  if (tokens == 0) return;
  const bool is_tiled = !p.full_precision && CanBeTiled(*p.w);
  LinearArguments a = {.w = encoder.Of(*p.w, is_tiled ? Layout::kTiles : Layout::kRows),
                       .x = encoder.Read(p.x),
                       .rounded = rounded_,
                       .y = encoder.Write(p.y),
                       .x_stride = Narrow(p.x.stride),
                       .y_stride = Narrow(p.y.stride),
                       .tokens = Narrow(tokens),
                       .unused = 0};
  const Storage storage = p.w->storage;
  if (is_tiled) {
    const int64_t tiles = TokenTiles(tokens);
    a.x_stride = Round(a.x, p.x.stride, p.x.columns, tokens, encoder);
    encoder.Launch(KernelOf("k2_linear_tiles_", storage, tiles), a,
                   {GroupsOf(p.w->rows, kTileRows), GroupsOf(tokens, tiles * kTileTokens)}, kProductThreads);
  } else {
    const int64_t together = tokens == 1 ? 1 : 4;
    encoder.Launch(KernelOf("k2_linear_rows_", storage, together), a,
                   {GroupsOf(p.w->rows, kProductWarps), GroupsOf(tokens, together)}, kProductThreads);
  }
}

// One launch per format that the part has; a kernel leaves the experts of other formats alone.
void Experts::Part(ExpertsArguments a, std::span<const ExpertArguments> experts, int64_t columns,
                   int64_t rows_of_x, Encoder& encoder) const {
  ExpertsArguments tiled = a;
  tiled.rounded = 0;
  for (Storage storage : kStorages) {
    if (Has(experts, a.part, storage, true)) {
      if (tiled.rounded == 0) {
        tiled.rounded = rounded_;
        tiled.x_stride = Round(a.x, a.x_stride, columns, rows_of_x, encoder);
      }
      encoder.Launch(KernelOf("k2_experts_part_", storage, a.tile_pairs / kTileTokens), tiled,
                     {GroupsOf(a.columns, kTileRows), a.tile_count}, kProductThreads);
    }
    if (Has(experts, a.part, storage, false)) {
      encoder.Launch(std::string("k2_experts_rows_") + FormatName(storage), a,
                     {GroupsOf(a.columns, kProductWarps), a.tile_count}, kProductThreads);
    }
  }
}

void Experts::GateUp(ExpertsArguments a, std::span<const ExpertArguments> experts, int64_t columns,
                     int64_t width, int64_t rows_of_x, Encoder& encoder) const {
  a.y = hidden_;
  a.y_stride = a.columns = Narrow(width);
  const bool is_fused = std::all_of(experts.begin(), experts.end(), [](const ExpertArguments& expert) {
    const WeightArguments &gate = expert.parts[kGate], &up = expert.parts[kUp];
    return gate.storage == up.storage && gate.is_tiled != 0 && up.is_tiled != 0;
  });
  if (is_fused) {
    a.x_stride = Round(a.x, a.x_stride, columns, rows_of_x, encoder);
    a.rounded = rounded_;
    for (Storage storage : kStorages) {
      if (!Has(experts, kGate, storage, true)) continue;
      encoder.Launch(KernelOf("k2_experts_gate_up_", storage, a.tile_pairs / kTileTokens), a,
                     {GroupsOf(width, kTileRows), a.tile_count}, kProductThreads);
    }
    return;
  }
  a.part = kGate;
  Part(a, experts, columns, rows_of_x, encoder);
  a.part = kUp;
  a.y = out_;
  Part(a, experts, columns, rows_of_x, encoder);
  const uint stride = Narrow(width);
  encoder.Launch("k2_swiglu",
                 RowsArguments{.a = hidden_,
                               .b = out_,
                               .y = hidden_,
                               .a_stride = stride,
                               .b_stride = stride,
                               .y_stride = stride,
                               .columns = stride},
                 RowGrid(width, a.pairs), kRowThreads);
}

void Experts::FeedForward(const FeedForwardParams& p, Encoder& encoder) const {
  const Expert& w = p.weights;
  const int64_t tokens = p.x.rows, width = w.gate->rows;
  const auto of = [&](const Weight& weight) { return encoder.Of(weight, LayoutOf(weight)); };
  const std::vector<ExpertArguments> experts = {{{of(*w.gate), of(*w.up), of(*w.down)}}};
  ExpertsArguments a = {};
  a.experts = encoder.Upload(experts);
  a.x = encoder.Read(p.x);
  a.x_stride = Narrow(p.x.stride);
  a.pairs = Narrow(tokens);
  a.chosen = a.expert_count = a.end_expert = a.pairs_a_row = 1;
  a.tile_pairs = Narrow(TokenTiles(tokens) * kTileTokens);
  a.tile_count = GroupsOf(tokens, a.tile_pairs);
  GateUp(a, experts, p.x.columns, width, tokens, encoder);
  a.part = kDown;
  a.x = hidden_;
  a.x_stride = Narrow(width);
  a.y = encoder.Write(p.y);
  a.y_stride = Narrow(p.y.stride);
  a.columns = Narrow(p.y.columns);
  Part(a, experts, width, tokens, encoder);
}

const Experts::Table* Experts::TableOf(std::span<const Expert> experts, Encoder& encoder) {
  std::vector<const uint8_t*> weights;
  weights.reserve(experts.size() * 3);
  for (const Expert& expert : experts) {
    for (const Weight* w : {expert.gate, expert.up, expert.down}) weights.push_back(w->data);
  }
  Table& table = tables_[experts.data()];
  if (table.is_lasting && table.weights == weights) return &table;
  if (table.memory.address() != 0) retired_.push_back(std::move(table.memory));
  table = {};
  table.is_lasting = true;
  const auto of = [&](const Weight& w) { return encoder.Of(w, LayoutOf(w), &table.is_lasting); };
  for (const Expert& expert : experts) {
    table.experts.push_back({{of(*expert.gate), of(*expert.up), of(*expert.down)}});
  }
  const size_t bytes = table.experts.size() * sizeof(ExpertArguments);
  Result<DeviceMemory> memory = encoder.device().Allocate(bytes, "the table of experts");
  encoder.Fail(memory.ok() ? encoder.device().Write(memory.value().address(), table.experts.data(), bytes)
                           : memory.status());
  if (!encoder.ok()) {
    tables_.erase(experts.data());
    return nullptr;
  }
  table.memory = std::move(memory.value());
  table.weights = std::move(weights);
  return &table;
}

void Experts::RoutedExperts(const RoutedExpertsParams& p, Encoder& encoder) {
  const Table* const table = TableOf(p.experts, encoder);
  if (table == nullptr || p.x.rows == 0) return;
  const std::span<const ExpertArguments> experts = table->experts;
  const int64_t tokens = p.x.rows, pairs = tokens * p.chosen, hidden = p.y.columns;
  const int64_t width = p.experts[0].gate->rows, bytes = pairs * static_cast<int64_t>(sizeof(int32_t));
  ExpertsArguments a = {};
  a.experts = table->memory.address();
  a.ids = encoder.Use(p.expert_ids, bytes, Access::kRead);
  a.weights = encoder.Use(p.expert_weights, bytes, Access::kRead);
  a.sorted = sorted_;
  a.tiles = tiles_;
  a.x = encoder.Read(p.x);
  a.x_stride = Narrow(p.x.stride);
  a.pairs = Narrow(pairs);
  a.chosen = a.pairs_a_row = Narrow(p.chosen);
  a.expert_count = Narrow(static_cast<int64_t>(experts.size()));
  a.first_expert = static_cast<uint>(p.first_expert);
  a.end_expert = static_cast<uint>(std::min<int64_t>(p.end_expert, a.expert_count));
  a.tile_pairs = Narrow(TokenTiles(tokens) * kTileTokens);
  a.tile_count = Narrow(Scratch::MostTiles(pairs, static_cast<int64_t>(experts.size()), a.tile_pairs));
  encoder.Launch("k2_sort_pairs", a, {1}, kRowThreads);
  GateUp(a, experts, p.x.columns, width, tokens, encoder);

  a.part = kDown;
  a.x = hidden_;
  a.x_stride = Narrow(width);
  a.pairs_a_row = 1;
  a.y = out_;
  a.y_stride = a.columns = Narrow(hidden);
  Part(a, experts, width, pairs, encoder);
  a.x = out_;
  a.x_stride = Narrow(hidden);
  a.y = encoder.Write(p.y);
  a.y_stride = Narrow(p.y.stride);
  encoder.Launch("k2_experts_add", a, RowGrid(hidden, tokens), kRowThreads);
}

}  // namespace k2::cuda
