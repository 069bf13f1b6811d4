#include "cpu/attention.h"

#include <algorithm>
#include <cstring>

#include "cpu/attention_rows.h"
#include "cpu/for_ahead.h"

namespace k2 {
namespace {

AttentionSizes SizesOf(const BackendShapes& s, CacheType cache_type) {
  return {.heads = s.heads,
          .nope = s.nope_dim,
          .rope = s.rope_dim,
          .value = s.value_dim,
          .rank = s.kv_rank,
          .batch_tokens = s.batch_tokens,
          .cache_type = cache_type};
}

// Divides memory among arrays; with `memory` null it only counts the bytes.
class Divider {
 public:
  explicit Divider(uint8_t* memory) : memory_(memory) {}

  template <typename T>
  void Take(T*& pointer, int64_t count, int64_t bytes = sizeof(T)) {
    pointer = reinterpret_cast<T*>(memory_ == nullptr ? nullptr : memory_ + used_);
    used_ += PadTo(count * bytes, static_cast<int64_t>(AlignedBuffer::kAlignment));
  }
  void TakeSums(QuerySums& sums, int64_t queries, const AttentionSizes& sizes) {
    Take(sums.outputs, queries * sizes.rank_width());
    Take(sums.largest, queries);
    Take(sums.total, queries);
  }
  int64_t used() const { return used_; }

 private:
  uint8_t* memory_;
  int64_t used_ = 0;
};

constexpr int64_t kOperandBytes = 4;

int64_t StepRows(const AttentionSizes& sizes) { return std::min(sizes.batch_tokens, kStepRows); }

// What the threads share.
void TakeShared(const AttentionSizes& sizes, int threads, Divider& memory, void*& queries, QuerySums& sums,
                QuerySums& splits) {
  uint8_t* bytes = nullptr;
  memory.Take(bytes, StepRows(sizes) * sizes.padded_heads() * sizes.cache_width(), kOperandBytes);
  queries = bytes;
  memory.TakeSums(sums, StepRows(sizes) * sizes.padded_heads(), sizes);
  memory.TakeSums(splits, AbsorbedPlan::MemoryRows(threads) * sizes.padded_heads(), sizes);
}

void TakeScratch(const AttentionSizes& sizes, Divider& memory, AttentionScratch& out) {
  const int64_t expanded_rows = PadTo(sizes.batch_tokens, kQueryTile);
  const int64_t weights =
      (PadTo(sizes.nope, kQueryTile) + PadTo(sizes.value, kQueryTile)) * sizes.rank_width();
  uint8_t *shares = nullptr, *queries = nullptr, *operands = nullptr;
  uint16_t* zeros = nullptr;
  memory.Take(out.rows, kPositionBlock + 1);
  memory.Take(out.ahead, kPositionBlock);
  memory.Take(out.read, sizes.cache_type == CacheType::kInt8 ? kPositionBlock * sizes.cache_width() : 0);
  memory.Take(zeros, sizes.cache_width());
  memory.Take(out.scores, (kPositionBlock + 1) * kQueryTile);
  memory.Take(shares, kPositionBlock * kQueryTile, kOperandBytes);
  memory.Take(out.weight_rows, kWeightRows * sizes.rank_width());
  memory.Take(out.projected, StepRows(sizes) * sizes.rank_width());
  memory.TakeSums(out.split, kTaskQueries, sizes);
  memory.Take(queries, kQueryTile * sizes.key_width(), kOperandBytes);
  memory.Take(out.outputs, expanded_rows * sizes.value_width());
  memory.Take(out.largest, expanded_rows);
  memory.Take(out.total, expanded_rows);
  memory.Take(operands, weights, kOperandBytes);
  memory.Take(out.keys, kPositionBlock);
  memory.Take(out.values, kPositionBlock + 1);
  memory.Take(out.key_memory, kPositionBlock * sizes.key_width());
  memory.Take(out.value_memory, (kPositionBlock + 1) * sizes.value_width());
  out.zeros = zeros;
  out.shares = shares;
  out.queries = queries;
  out.weights = operands;
}

}  // namespace

int64_t Attention::CacheBytesPerToken(const BackendShapes& shapes) const {
  return SizesOf(shapes, cache_type_).row_bytes();
}

int64_t Attention::ScratchBytes(const BackendShapes& shapes, int threads) const {
  const AttentionSizes sizes = SizesOf(shapes, cache_type_);
  Divider shared(nullptr), of_thread(nullptr);
  void* queries = nullptr;
  QuerySums sums, splits;
  AttentionScratch scratch;
  TakeShared(sizes, threads, shared, queries, sums, splits);
  TakeScratch(sizes, of_thread, scratch);
  return shared.used() + threads * of_thread.used();
}

Status Attention::Prepare(const BackendShapes& shapes, ThreadPool& pool, Isa isa) {
  const int threads = pool.threads();
  sizes_ = SizesOf(shapes, cache_type_);
  kernels_ = AttentionKernelsFor(isa);
  Result<AlignedBuffer> memory =
      AlignedBuffer::Allocate(static_cast<size_t>(ScratchBytes(shapes, threads)), "attention scratch");
  if (!memory.ok()) return memory.status();
  memory_ = std::move(memory.value());
  std::memset(memory_.data(), 0, memory_.size());
  Divider parts(memory_.data());
  TakeShared(sizes_, threads, parts, queries_, sums_, splits_);
  scratch_.resize(static_cast<size_t>(threads));
  for (int thread = 0; thread < threads; ++thread) {
    AttentionScratch& scratch = scratch_[static_cast<size_t>(thread)];
    scratch.pool = &pool;
    scratch.thread = thread;
    TakeScratch(sizes_, parts, scratch);
    for (int64_t s = 0; s < kPositionBlock; ++s)
      scratch.keys[s] = scratch.key_memory + s * sizes_.key_width();
    for (int64_t s = 0; s <= kPositionBlock; ++s)
      scratch.values[s] = scratch.value_memory + s * sizes_.value_width();
  }
  plan_.Prepare(sizes_.heads, threads, sums_, splits_);
  return {};
}

void Attention::AppendKv(const AppendKvParams& p, ThreadPool& pool) const {
  const int64_t row_bytes = sizes_.row_bytes();
  for (const Segment& segment : p.segments) {
    const CacheView& cache = segment.cache;
    pool.For(segment.rows, 16, [&](int64_t first, int64_t last, int) {
      for (int64_t i = first; i < last; ++i) {
        const int64_t position = segment.first_position + i;
        uint8_t* page = cache.pages[static_cast<size_t>(position / cache.page_tokens)];
        uint8_t* row = page + position % cache.page_tokens * row_bytes;
        const float* latent = p.latent.row(segment.first_row + i);
        const float* key = p.rope_key.row(segment.first_row + i);
        if (cache_type_ == CacheType::kInt8) {
          WriteInt8Row(sizes_, latent, key, row);
        } else {
          WriteBf16Row(sizes_, latent, key, row);
        }
      }
    });
  }
}

void Attention::LatentAttention(const LatentAttentionParams& p, ThreadPool& pool) {
  RunAbsorbed(p, pool);
  RunExpanded(p, pool);
}

void Attention::RunAbsorbed(const LatentAttentionParams& p, ThreadPool& pool) {
  const auto for_heads = [&](const auto& kernel, const AbsorbedStep& step) {
    pool.For(p.heads, 1, [&](int64_t first, int64_t last, int thread) {
      for (int64_t head = first; head < last; ++head)
        kernel(step, head, sizes_, scratch_[static_cast<size_t>(thread)]);
    });
  };
  plan_.Begin(p.segments);
  while (plan_.NextStep()) {
    const AbsorbedStep step{.params = &p,
                            .numbers = plan_.numbers().data(),
                            .rows = static_cast<int64_t>(plan_.numbers().size()),
                            .queries = queries_,
                            .sums = sums_};
    for_heads(kernels_.project_queries, step);
    while (plan_.NextWave()) {
      const std::span<const AbsorbedTask> tasks = plan_.tasks();
      ForAhead(pool, static_cast<int64_t>(tasks.size()), [&](int64_t task, int64_t next, int thread) {
        kernels_.absorbed(step, tasks[static_cast<size_t>(task)],
                          next < 0 ? nullptr : &tasks[static_cast<size_t>(next)], sizes_,
                          scratch_[static_cast<size_t>(thread)]);
      });
      Merge(step, pool);
    }
    for_heads(kernels_.project_outputs, step);
  }
}

// Each tile of queries by itself, the splits of its row in ascending order.
void Attention::Merge(const AbsorbedStep& step, ThreadPool& pool) const {
  const auto is_first = [](const AbsorbedSplit& split) { return split.start == 0; };
  const std::span<const AbsorbedSplit> splits = plan_.splits();
  if (std::all_of(splits.begin(), splits.end(), is_first)) return;
  const int64_t heads = sizes_.padded_heads(), tiles = heads / kQueryTile;
  const float scale = static_cast<float>(step.params->scale);
  pool.For(step.rows * tiles, 1, [&](int64_t first, int64_t last, int) {
    for (int64_t i = first; i < last; ++i) {
      const int64_t row = i / tiles, head = i % tiles * kQueryTile;
      for (const AbsorbedSplit& split : splits) {
        const int64_t t = row - split.part->step_row;
        if (is_first(split) || t < 0 || t >= split.part->rows) continue;
        if (split.part->first_position + t < split.start) continue;  // sees nothing of it
        kernels_.merge(splits_, (split.memory_row + t) * heads + head, sums_, row * heads + head, scale,
                       sizes_);
      }
    }
  });
}

void Attention::RunExpanded(const LatentAttentionParams& p, ThreadPool& pool) const {
  const auto is_expanded = [](const Segment& segment) { return segment.form == AttentionForm::kExpanded; };
  if (std::none_of(p.segments.begin(), p.segments.end(), is_expanded)) return;
  pool.For(static_cast<int64_t>(p.segments.size()) * p.heads, 1,
           [&](int64_t first, int64_t last, int thread) {
             for (int64_t task = first; task < last; ++task) {
               const Segment& segment = p.segments[static_cast<size_t>(task / p.heads)];
               if (!is_expanded(segment)) continue;
               kernels_.expanded({.params = &p, .segment = &segment, .head = task % p.heads}, sizes_,
                                 scratch_[static_cast<size_t>(thread)]);
             }
           });
}

}  // namespace k2
