#include "cuda/attention.h"

#include <algorithm>

namespace k2::cuda {
namespace {

// Rows that share the scratch, and slots of theirs (row, block of positions): large enough to fill a GPU.
constexpr int64_t kPassRows = 32, kPassSlots = 64;

struct Scratch {
  int64_t absorbed, parts, merged;  // numbers

  explicit Scratch(const BackendShapes& s)
      : Scratch(std::min(kPassRows, s.batch_tokens), s.heads, s.kv_rank) {}
  Scratch(int64_t rows, int64_t heads, int64_t rank)
      : absorbed(rows * heads * rank),
        parts(kPassSlots * heads * (rank + 2)),
        merged(rows * heads * (rank + 2)) {}
  int64_t bytes() const { return (absorbed + parts + merged) * static_cast<int64_t>(sizeof(float)); }
};

}  // namespace

int64_t Attention::CacheBytesPerToken(const BackendShapes& s) {
  return (s.kv_rank + s.rope_dim) * static_cast<int64_t>(sizeof(uint16_t));
}

int64_t Attention::ScratchBytes(const BackendShapes& shapes) { return Scratch(shapes).bytes(); }

Status Attention::Prepare(const BackendShapes& shapes, Device& device) {
  const struct {
    const char* name;
    int64_t value, most;
  } limits[] = {{"kv_lora_rank", shapes.kv_rank, kMostRank},
                {"qk_rope_head_dim", shapes.rope_dim, kMostRope}};
  for (const auto& limit : limits) {
    if (limit.value <= limit.most) continue;
    return Status(ErrorCode::kUnavailable, "Expected at most " + std::to_string(limit.most) + " for " +
                                               limit.name + " on device cuda, got " +
                                               std::to_string(limit.value));
  }
  Result<DeviceMemory> memory = device.Allocate(static_cast<size_t>(ScratchBytes(shapes)), "attention");
  if (!memory.ok()) return memory.status();
  scratch_ = std::move(memory.value());
  return {};
}

void Attention::AppendKv(const AppendKvParams& p, Encoder& encoder) const {
  const int64_t rank = p.latent.columns, rope = p.rope_key.columns;
  const int64_t row_bytes = (rank + rope) * static_cast<int64_t>(sizeof(uint16_t));
  std::vector<Address> rows(static_cast<size_t>(p.latent.rows));
  for (const Segment& segment : p.segments) {
    const int64_t page_tokens = segment.cache.page_tokens;
    for (int64_t i = 0; i < segment.rows; ++i) {
      const int64_t position = segment.first_position + i;
      const uint8_t* page = segment.cache.pages[static_cast<size_t>(position / page_tokens)];
      rows[static_cast<size_t>(segment.first_row + i)] =
          encoder.Use(page + position % page_tokens * row_bytes, row_bytes, Access::kWrite);
    }
  }
  encoder.Launch("k2_append_kv",
                 AppendArguments{.latent = encoder.Read(p.latent),
                                 .rope_key = encoder.Read(p.rope_key),
                                 .rows = encoder.Upload(rows),
                                 .latent_stride = Narrow(p.latent.stride),
                                 .rope_key_stride = Narrow(p.rope_key.stride),
                                 .kv_rank = Narrow(rank),
                                 .rope_dim = Narrow(rope)},
                 {GroupsOf(rank + rope, kRowThreads), Narrow(p.latent.rows)}, kRowThreads);
}

void Attention::LatentAttention(const LatentAttentionParams& p, Encoder& encoder) const {
  AttentionArguments arguments = {.kv_b = encoder.Of(*p.kv_b, Layout::kRows),
                                  .q = encoder.Read(p.q),
                                  .y = encoder.Write(p.y),
                                  .rows = 0,
                                  .slots = 0,
                                  .absorbed = 0,
                                  .parts = 0,
                                  .merged = 0,
                                  .q_stride = Narrow(p.q.stride),
                                  .y_stride = Narrow(p.y.stride),
                                  .row_count = 0,
                                  .heads = Narrow(p.heads),
                                  .nope_dim = Narrow(p.nope_dim),
                                  .rope_dim = Narrow(p.rope_dim),
                                  .value_dim = Narrow(p.value_dim),
                                  .kv_rank = Narrow(p.kv_rank),
                                  .page_tokens = 0,
                                  .is_first = 0,
                                  .is_last = 0,
                                  .scale = static_cast<float>(p.scale)};
  for (const Segment& segment : p.segments) {
    const CacheView& cache = segment.cache;
    const int64_t page_bytes =
        cache.page_tokens * (p.kv_rank + p.rope_dim) * static_cast<int64_t>(sizeof(uint16_t));
    const int64_t end = segment.first_position + segment.rows;
    std::vector<Address> pages;
    for (int64_t i = 0; i * cache.page_tokens < end; ++i) {
      pages.push_back(encoder.Use(cache.pages[static_cast<size_t>(i)], page_bytes, Access::kRead));
    }
    const Address page_table = encoder.Upload(pages);
    arguments.page_tokens = Narrow(cache.page_tokens);
    for (int64_t first = 0; first < segment.rows; first += kPassRows) {
      std::vector<AttentionRow> rows;
      std::vector<int64_t> positions;
      for (int64_t i = first; i < std::min(first + kPassRows, segment.rows); ++i) {
        rows.push_back({.pages = page_table,
                        .row = Narrow(segment.first_row + i),
                        .first_slot = 0,
                        .slots = 0,
                        .unused = 0});
        positions.push_back(segment.first_position + i + 1);
      }
      Pass(p, arguments, rows, positions, encoder);
    }
  }
}

void Attention::Pass(const LatentAttentionParams& p, AttentionArguments& a, std::vector<AttentionRow>& rows,
                     const std::vector<int64_t>& positions, Encoder& encoder) const {
  const int64_t count = static_cast<int64_t>(rows.size());
  const Scratch scratch(count, p.heads, p.kv_rank);
  a.absorbed = scratch_.address();
  a.parts = a.absorbed + static_cast<Address>(scratch.absorbed) * sizeof(float);
  a.merged = a.parts + static_cast<Address>(scratch.parts) * sizeof(float);
  a.row_count = Narrow(count);
  a.rows = encoder.Upload(rows);

  const Storage storage = p.kv_b->storage;
  const std::string format = std::string(FormatName(storage)) + (count == 1 ? "_1" : "_4");
  const uint32_t tiles = GroupsOf(count, count == 1 ? 1 : 4), heads = Narrow(p.heads);
  const int64_t chunk = storage == Storage::kInt4 ? 32 : 16 / StorageBytes(storage);
  encoder.Launch("k2_absorb_query_" + format, a, {GroupsOf(p.kv_rank, kProductThreads * chunk), heads, tiles},
                 kProductThreads);

  const int64_t most_blocks = GroupsOf(positions.back(), kBlockPositions);
  const int64_t step = std::max<int64_t>(1, kPassSlots / count);
  for (int64_t first = 0; first < most_blocks; first += step) {
    std::vector<AttentionSlot> slots;
    for (size_t i = 0; i < rows.size(); ++i) {
      rows[i].first_slot = Narrow(static_cast<int64_t>(slots.size()));
      for (int64_t block = first; block < first + step; ++block) {
        const int64_t start = block * kBlockPositions;
        if (start >= positions[i]) break;
        slots.push_back({.row = Narrow(static_cast<int64_t>(i)),
                         .first_position = Narrow(start),
                         .positions = Narrow(std::min<int64_t>(kBlockPositions, positions[i] - start))});
      }
      rows[i].slots = Narrow(static_cast<int64_t>(slots.size())) - rows[i].first_slot;
    }
    a.rows = encoder.Upload(rows);
    a.slots = encoder.Upload(slots);
    a.is_first = first == 0;
    a.is_last = first + step >= most_blocks;
    const uint32_t head_groups = GroupsOf(p.heads, kAttentionWarps * kAttentionHeads);
    encoder.Launch("k2_attend_block", a, {head_groups, Narrow(static_cast<int64_t>(slots.size()))},
                   kAttentionWarps * kLanes);
    encoder.Launch("k2_merge_blocks", a, {heads, a.row_count}, kRowThreads);
  }
  encoder.Launch("k2_project_values_" + format, a, {GroupsOf(p.value_dim, kProductWarps), heads, tiles},
                 kProductThreads);
}

}  // namespace k2::cuda
