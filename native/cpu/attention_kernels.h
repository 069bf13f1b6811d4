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
// Rows of every array below are padded to whole vectors of any ISA.
constexpr int64_t kColumnPad = 32;
// The most rows and queries of one absorbed task.
constexpr int64_t kAbsorbedRows = 8;
constexpr int64_t kAbsorbedQueries = 64;
// Rows of kv_b that are decoded at a time.
constexpr int64_t kWeightRows = 4;

constexpr int64_t PadTo(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

struct AttentionSizes {
  int64_t heads = 0, nope = 0, rope = 0, value = 0, rank = 0, batch_tokens = 0;

  int64_t cache_width() const { return PadTo(rank + rope, kColumnPad); }
  int64_t rank_width() const { return PadTo(rank, kColumnPad); }
  int64_t key_width() const { return PadTo(nope + rope, kColumnPad); }
  int64_t value_width() const { return PadTo(value, kColumnPad); }
};

// Memory of one thread. `Operand` is the kernel set's form of a multiplied number, at most 4 bytes.
struct AttentionScratch {
  const uint16_t** rows;   // [block + 1] cached rows of the block; absorbed: then `zeros`
  const uint16_t** ahead;  // [block] those of the next one
  const uint16_t* zeros;   // [cache_width]
  float* scores;           // [block + 1, tile]
  void* shares;            // softmax weights, [block, tile] of at most 4 bytes
  float* weight_rows;      // [kWeightRows, rank_width]
  void* queries;           // Operand; absorbed [kAbsorbedQueries, cache_width], expanded [tile, key_width]
  float* projected;        // [kAbsorbedRows, rank_width]
  float* outputs;          // absorbed [kAbsorbedQueries, rank_width], expanded [batch_tokens, value_width]
  float* largest;          // per query: the largest score so far
  float* total;            // per query: the sum of its shares so far
  void* weights;  // Operand; expanded: W_UK[h], then W_UV[h], each of rows padded to the tile, rank_width
  const uint16_t** keys;    // [block] rows of [nope | rope | zeros] in bf16, key_width
  const uint16_t** values;  // [block + 1] rows in bf16, value_width
  uint16_t* key_memory;
  uint16_t* value_memory;
};

// A part of one segment: rows [first_row, first_row + rows) of it, heads [first_head, first_head + heads).
struct AttentionTask {
  const LatentAttentionParams* params;
  const Segment* segment;
  int64_t first_row, rows;
  int64_t first_head, heads;
  // In a long context a task takes much longer than a stop may, so kernels ask between blocks of positions.
  ThreadPool* pool;
  int thread;
};

struct AttentionKernels {
  using Function = void (*)(const AttentionTask&, const AttentionSizes&, const AttentionScratch&);
  Function absorbed = nullptr;  // at most kAbsorbedRows rows, kAbsorbedQueries queries with padded heads
  Function expanded = nullptr;  // one head, all rows of the segment
};

// The kernels of an ISA that SupportedIsas() lists.
AttentionKernels AttentionKernelsFor(Isa isa);

}  // namespace k2
