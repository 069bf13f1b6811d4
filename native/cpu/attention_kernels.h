// What the driver of attention (attention.cc) and its kernels (attention_*.inl.h, once per ISA) agree on.
#pragma once

#include <cstdint>

#include "base/thread_pool.h"
#include "cpu/isa.h"
#include "ops/params.h"

namespace k2 {

// Queries that share every load of a cached row. Queries are heads of one row in the absorbed form and rows
// of one head in the expanded form; missing ones are filled up with zeros.
constexpr int64_t kQueryTile = 8;
// Positions between two updates of the running softmax. Blocks start at multiples of it, whatever the call,
// so the order of a row's sums depends on its position alone.
constexpr int64_t kPositionBlock = 256;
// Positions of a split: the absorbed form sums each by itself, so that threads can share a long context, and
// then merges them in order. They start at multiples of it as well.
constexpr int64_t kPositionSplit = 2 * kPositionBlock;
// Rows of every array below are padded to whole vectors of any ISA.
constexpr int64_t kColumnPad = 32;
// Rows of the absorbed form that share one pass over kv_b.
constexpr int64_t kStepRows = 32;
// The most rows and queries of one absorbed task.
constexpr int64_t kTaskRows = 8;
constexpr int64_t kTaskQueries = 64;
// Rows of kv_b that are decoded at a time.
constexpr int64_t kWeightRows = 8;

constexpr int64_t PadTo(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

struct AttentionSizes {
  int64_t heads = 0, nope = 0, rope = 0, value = 0, rank = 0, batch_tokens = 0;
  CacheType cache_type = CacheType::kBf16;

  int64_t padded_heads() const { return PadTo(heads, kQueryTile); }
  int64_t cache_width() const { return PadTo(rank + rope, kColumnPad); }
  int64_t rank_width() const { return PadTo(rank, kColumnPad); }
  int64_t key_width() const { return PadTo(nope + rope, kColumnPad); }
  int64_t value_width() const { return PadTo(value, kColumnPad); }

  // Of a position in a page (attention.h).
  int64_t row_bytes() const {
    return cache_type == CacheType::kBf16 ? 2 * cache_width() : PadTo(latent_offset() + rank, 16);
  }
  // Of an int8 row.
  int64_t scales() const { return PadTo(rank, kLatentGroup) / kLatentGroup; }
  int64_t key_offset() const { return scales() * static_cast<int64_t>(sizeof(float)); }
  int64_t latent_offset() const { return key_offset() + 2 * rope; }
};

// What queries have seen of the cache.
struct QuerySums {
  float* outputs;  // [queries, rank_width]: shares times latents, not divided by their total yet
  float* largest;  // [queries]: the largest score
  float* total;    // [queries]: the sum of the shares
};

// Of one thread: its memory, and whether it goes on. `Operand` is the kernel set's form of a multiplied
// number, at most 4 bytes.
struct AttentionScratch {
  // In a long context a task takes much longer than a stop may, so kernels ask between blocks of positions.
  ThreadPool* pool;
  int thread;
  const uint16_t** rows;   // [block + 1] cached rows of the block; absorbed: then `zeros`
  const uint16_t** ahead;  // [block] those of the next one, as they are stored
  uint16_t* read;          // [block, cache_width] rows that are stored in int8
  const uint16_t* zeros;   // [cache_width]
  float* scores;           // [block + 1, tile]
  void* shares;            // softmax weights, [block, tile] of at most 4 bytes
  float* weight_rows;      // [kWeightRows, rank_width]
  float* projected;        // absorbed: [kStepRows, rank_width]
  QuerySums split;         // absorbed: of one split, [kTaskQueries]
  // Of the expanded form.
  void* queries;            // Operand, [tile, key_width]
  float* outputs;           // [batch_tokens, value_width]
  float* largest;           // per query: the largest score so far
  float* total;             // per query: the sum of its shares so far
  void* weights;            // Operand; W_UK[h], then W_UV[h], each of rows padded to the tile, rank_width
  const uint16_t** keys;    // [block] rows of [nope | rope | zeros] in bf16, key_width
  const uint16_t** values;  // [block + 1] rows in bf16, value_width
  uint16_t* key_memory;
  uint16_t* value_memory;
};

// Absorbed rows of a call that are computed together, of any number of sessions.
struct AbsorbedStep {
  const LatentAttentionParams* params;
  const int64_t* numbers;  // [rows] of each in q and y
  int64_t rows;
  void* queries;  // Operand, [rows, padded heads, cache_width]; heads and columns that are padding hold zeros
  QuerySums sums;  // [rows, padded heads]
};

// Some rows of one session and some heads of them, over positions [start, end): one split, or several from
// the first one on.
struct AbsorbedTask {
  const CacheView* cache;
  int64_t step_row, rows;
  int64_t first_position;  // of its first row; each row sees the positions up to its own
  int64_t first_head, heads;
  int64_t start, end;
  QuerySums sums;    // [rows, padded heads]: where the result goes,
  int64_t sums_row;  // and the row there of its first one
};

// One head, all rows of a segment.
struct ExpandedTask {
  const LatentAttentionParams* params;
  const Segment* segment;
  int64_t head;
};

struct AttentionKernels {
  // Queries of one head for all rows of the step.
  void (*project_queries)(const AbsorbedStep&, int64_t head, const AttentionSizes&,
                          const AttentionScratch&) = nullptr;
  // `next` is the task that the thread does after this one, or null.
  void (*absorbed)(const AbsorbedStep&, const AbsorbedTask&, const AbsorbedTask* next, const AttentionSizes&,
                   const AttentionScratch&) = nullptr;
  // Adds what one tile of queries has seen of a further split to what they had seen.
  void (*merge)(const QuerySums& split, int64_t split_query, const QuerySums& sums, int64_t query,
                float scale, const AttentionSizes&) = nullptr;
  // Results of one head for all rows of the step.
  void (*project_outputs)(const AbsorbedStep&, int64_t head, const AttentionSizes&,
                          const AttentionScratch&) = nullptr;
  void (*expanded)(const ExpandedTask&, const AttentionSizes&, const AttentionScratch&) = nullptr;
};

// The kernels of an ISA that SupportedIsas() lists.
AttentionKernels AttentionKernelsFor(Isa isa);

}  // namespace k2
