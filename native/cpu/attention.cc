#include "cpu/attention.h"

#include <algorithm>
#include <cstring>

namespace k2 {
namespace {

AttentionSizes SizesOf(const BackendShapes& s) {
  return {.heads = s.heads,
          .nope = s.nope_dim,
          .rope = s.rope_dim,
          .value = s.value_dim,
          .rank = s.kv_rank,
          .batch_tokens = s.batch_tokens};
}

// Divides memory among the arrays of one thread; with `memory` null it only counts the bytes.
int64_t Layout(const AttentionSizes& sizes, uint8_t* memory, AttentionScratch& out) {
  constexpr int64_t kOperandBytes = 4;
  int64_t used = 0;
  const auto take = [&](auto& pointer, int64_t count, int64_t bytes) {
    pointer = reinterpret_cast<std::remove_reference_t<decltype(pointer)>>(memory == nullptr ? nullptr
                                                                                             : memory + used);
    used += PadTo(count * bytes, static_cast<int64_t>(AlignedBuffer::kAlignment));
  };
  const int64_t expanded_rows = PadTo(sizes.batch_tokens, kQueryTile);
  const int64_t queries = std::max(kAbsorbedQueries * sizes.cache_width(), kQueryTile * sizes.key_width());
  const int64_t outputs =
      std::max(kAbsorbedQueries * sizes.rank_width(), expanded_rows * sizes.value_width());
  const int64_t states = std::max(kAbsorbedQueries, expanded_rows);
  const int64_t weights =
      (PadTo(sizes.nope, kQueryTile) + PadTo(sizes.value, kQueryTile)) * sizes.rank_width();
  take(out.rows, kPositionBlock + 1, sizeof(void*));
  take(out.ahead, kPositionBlock, sizeof(void*));
  take(out.zeros, sizes.cache_width(), sizeof(uint16_t));
  take(out.scores, (kPositionBlock + 1) * kQueryTile, sizeof(float));
  take(out.shares, kPositionBlock * kQueryTile, kOperandBytes);
  take(out.weight_rows, kWeightRows * sizes.rank_width(), sizeof(float));
  take(out.queries, queries, kOperandBytes);
  take(out.projected, kAbsorbedRows * sizes.rank_width(), sizeof(float));
  take(out.outputs, outputs, sizeof(float));
  take(out.largest, states, sizeof(float));
  take(out.total, states, sizeof(float));
  take(out.weights, weights, kOperandBytes);
  take(out.keys, kPositionBlock, sizeof(void*));
  take(out.values, kPositionBlock + 1, sizeof(void*));
  take(out.key_memory, kPositionBlock * sizes.key_width(), sizeof(uint16_t));
  take(out.value_memory, (kPositionBlock + 1) * sizes.value_width(), sizeof(uint16_t));
  return used;
}

// Rows and heads of a task of one segment. How segments are cut into tasks has no influence on the numbers.
struct Cut {
  int64_t rows, heads;
  int64_t row_parts, head_parts;

  int64_t tasks() const { return row_parts * head_parts; }
};

Cut MakeCut(const Segment& segment, int64_t rows, int64_t all_heads, int64_t heads) {
  return {.rows = rows,
          .heads = heads,
          .row_parts = rows > 0 ? (segment.rows + rows - 1) / rows : 0,
          .head_parts = (all_heads + heads - 1) / heads};
}

Cut CutExpanded(const Segment& segment, int64_t heads) { return MakeCut(segment, segment.rows, heads, 1); }

// More heads in a task mean fewer passes over the cached rows: for one row of K2 at 8192 positions, tasks of
// 64, 32, 16 and 8 heads reached 60, 55, 47 and 32 % of a core's bf16 peak. So a part of the rows is cut into
// `head_parts` only, just enough tasks for the threads.
Cut CutAbsorbed(const Segment& segment, int64_t heads, int64_t head_parts) {
  const int64_t rows = std::min(segment.rows, kAbsorbedRows);
  const int64_t tiles = PadTo(heads, kQueryTile) / kQueryTile;
  const int64_t wanted = (tiles + head_parts - 1) / head_parts;
  const int64_t fitting = kAbsorbedQueries / (std::max<int64_t>(rows, 1) * kQueryTile);
  return MakeCut(segment, rows, heads, std::min(wanted, fitting) * kQueryTile);
}

}  // namespace

int64_t Attention::CacheBytesPerToken(const BackendShapes& shapes) {
  return SizesOf(shapes).cache_width() * static_cast<int64_t>(sizeof(uint16_t));
}

int64_t Attention::ScratchBytes(const BackendShapes& shapes, int threads) {
  AttentionScratch unused;
  return Layout(SizesOf(shapes), nullptr, unused) * threads;
}

Status Attention::Prepare(const BackendShapes& shapes, int threads, Isa isa) {
  sizes_ = SizesOf(shapes);
  kernels_ = AttentionKernelsFor(isa);
  Result<AlignedBuffer> memory =
      AlignedBuffer::Allocate(static_cast<size_t>(ScratchBytes(shapes, threads)), "attention scratch");
  if (!memory.ok()) return memory.status();
  memory_ = std::move(memory.value());
  std::memset(memory_.data(), 0, memory_.size());
  scratch_.resize(static_cast<size_t>(threads));
  uint8_t* next = memory_.data();
  for (AttentionScratch& scratch : scratch_) {
    next += Layout(sizes_, next, scratch);
    for (int64_t s = 0; s < kPositionBlock; ++s)
      scratch.keys[s] = scratch.key_memory + s * sizes_.key_width();
    for (int64_t s = 0; s <= kPositionBlock; ++s)
      scratch.values[s] = scratch.value_memory + s * sizes_.value_width();
  }
  return {};
}

void Attention::AppendKv(const AppendKvParams& p, ThreadPool& pool) const {
  const int64_t rank = p.latent.columns, rope = p.rope_key.columns, width = PadTo(rank + rope, kColumnPad);
  for (const Segment& segment : p.segments) {
    const CacheView& cache = segment.cache;
    pool.For(segment.rows, 16, [&](int64_t first, int64_t last, int) {
      for (int64_t i = first; i < last; ++i) {
        const int64_t position = segment.first_position + i;
        uint8_t* page = cache.pages[static_cast<size_t>(position / cache.page_tokens)];
        uint16_t* row = reinterpret_cast<uint16_t*>(page) + position % cache.page_tokens * width;
        const float* latent = p.latent.row(segment.first_row + i);
        const float* key = p.rope_key.row(segment.first_row + i);
        for (int64_t k = 0; k < rank; ++k) row[k] = FloatToBf16(latent[k]);
        for (int64_t k = 0; k < rope; ++k) row[rank + k] = FloatToBf16(key[k]);
        std::fill(row + rank + rope, row + width, uint16_t{0});
      }
    });
  }
}

void Attention::LatentAttention(const LatentAttentionParams& p, ThreadPool& pool) const {
  RunForm(p, AttentionForm::kAbsorbed, pool);
  RunForm(p, AttentionForm::kExpanded, pool);
}

void Attention::RunForm(const LatentAttentionParams& p, AttentionForm form, ThreadPool& pool) const {
  const bool absorbed = form == AttentionForm::kAbsorbed;
  int64_t row_parts = 0, tasks = 0;
  for (const Segment& s : p.segments) {
    if (s.form == form) row_parts += (s.rows + kAbsorbedRows - 1) / kAbsorbedRows;
  }
  const int64_t head_parts =
      std::max<int64_t>(1, (pool.threads() + row_parts - 1) / std::max<int64_t>(1, row_parts));
  const auto cut_of = [&](const Segment& s) {
    return absorbed ? CutAbsorbed(s, p.heads, head_parts) : CutExpanded(s, p.heads);
  };
  for (const Segment& s : p.segments) tasks += s.form == form ? cut_of(s).tasks() : 0;
  pool.For(tasks, 1, [&](int64_t first, int64_t last, int thread) {
    for (int64_t task = first; task < last; ++task) {
      const Segment* segment = p.segments.data();
      int64_t index = task;
      for (;; ++segment) {
        if (segment->form != form) continue;
        const int64_t here = cut_of(*segment).tasks();
        if (index < here) break;
        index -= here;
      }
      const Cut cut = cut_of(*segment);
      const int64_t row = index / cut.head_parts * cut.rows, head = index % cut.head_parts * cut.heads;
      const AttentionKernels::Function kernel = absorbed ? kernels_.absorbed : kernels_.expanded;
      kernel({.params = &p,
              .segment = segment,
              .first_row = row,
              .rows = std::min(cut.rows, segment->rows - row),
              .first_head = head,
              .heads = std::min(cut.heads, p.heads - head),
              .pool = &pool,
              .thread = thread},
             sizes_, scratch_[static_cast<size_t>(thread)]);
    }
  });
}

}  // namespace k2
