// Latent attention in the absorbed form: every head's scores are products with the cached latent itself. Four
// steps of one pass: the query is brought into the basis of the latent; blocks of positions give a part each;
// the parts of a row are merged in order; the result leaves the basis of the latent.
//
// A page of the cache holds rows of [R latent | Dr rope key] in BF16. Where blocks and tiles begin depends on
// the position alone, so neither the pass nor the neighbours change a bit.

// Blocks are (columns, rows).
K2_DEVICE void AppendKv(const AppendArguments& a, const Position& at) {
  const uint column = ColumnOf(at);
  if (column >= a.kv_rank + a.rope_dim) return;
  const float value = column < a.kv_rank
                          ? a.latent[ulong(at.block_y) * a.latent_stride + column]
                          : a.rope_key[ulong(at.block_y) * a.rope_key_stride + column - a.kv_rank];
  a.rows[at.block_y][column] = RoundToBf16(value);
}
K2_KERNEL(k2_append_kv, AppendKv, AppendArguments, kRowThreads)

// absorbed[row, h] = q_nope[row, h] W_UK[h]. Blocks are (chunks of columns, heads, tiles of rows); a thread
// adds its chunk's columns over d in order.
template <typename Format, uint kTokens>
K2_DEVICE void AbsorbQuery(const AttentionArguments& a, const Position& at) {
  constexpr uint kChunk = 4 * Format::kInWord;
  const WeightArguments& w = a.kv_b;
  const uint column = (at.block_x * kProductThreads + at.thread) * kChunk;
  if (column >= a.kv_rank) return;
  const uint head = at.block_y, first_weight = head * (a.nope_dim + a.value_dim);
  const float* q[kTokens];
  float sums[kTokens][kChunk], values[kChunk];
  K2_UNROLL for (uint n = 0; n < kTokens; ++n) {
    const uint row = min(at.block_z * kTokens + n, a.row_count - 1);
    q[n] = a.q + ulong(a.rows[row].row) * a.q_stride + head * (a.nope_dim + a.rope_dim);
    K2_UNROLL for (uint i = 0; i < kChunk; ++i) sums[n][i] = 0.0f;
  }
  for (uint d = 0; d < a.nope_dim; ++d) {
    const float scale = LoadChunk<Format>(w, first_weight + d, column, values);
    K2_UNROLL for (uint n = 0; n < kTokens; ++n) {
      const float factor = q[n][d];
      K2_UNROLL for (uint i = 0; i < kChunk; ++i) sums[n][i] = fmaf(scale * values[i], factor, sums[n][i]);
    }
  }
  K2_UNROLL for (uint n = 0; n < kTokens && at.block_z * kTokens + n < a.row_count; ++n) {
    float* to = a.absorbed + (ulong(at.block_z * kTokens + n) * a.heads + head) * a.kv_rank + column;
    K2_UNROLL for (uint i = 0; i < kChunk && column + i < a.kv_rank; ++i) to[i] = sums[n][i];
  }
}
K2_KERNELS_OF_TOKENS(k2_absorb_query, AbsorbQuery, AttentionArguments, kProductThreads, 1)
K2_KERNELS_OF_TOKENS(k2_absorb_query, AbsorbQuery, AttentionArguments, kProductThreads, 4)

// parts[slot, h]: softmax over one block of positions, not yet divided. Blocks are (groups of heads, slots);
// all heads of a block share the tile of latents.
K2_DEVICE void AttendBlock(const AttentionArguments& a, const Position& at) {
  constexpr uint kRankLanes = kMostRank / kLanes, kRopeLanes = kMostRope / kLanes;
  K2_SHARED(ushort, tile, kTilePositions * (kMostRank + kMostRope));
  const AttentionSlot slot = a.slots[at.block_y];
  const uint rank = a.kv_rank, width = rank + a.rope_dim;
  const uint first_head = (at.block_x * kAttentionWarps + at.warp) * kAttentionHeads;

  float query[kAttentionHeads][kRankLanes], rope_query[kAttentionHeads][kRopeLanes];
  float mixed[kAttentionHeads][kRankLanes], largest[kAttentionHeads], total[kAttentionHeads];
  K2_UNROLL for (uint h = 0; h < kAttentionHeads; ++h) {
    const uint head = min(first_head + h, a.heads - 1);
    const float* q = a.absorbed + (ulong(slot.row) * a.heads + head) * rank;
    const float* rope =
        a.q + ulong(a.rows[slot.row].row) * a.q_stride + head * (a.nope_dim + a.rope_dim) + a.nope_dim;
    K2_UNROLL for (uint i = 0; i < kRankLanes; ++i) {
      const uint column = at.lane + i * kLanes;
      query[h][i] = column < rank ? q[column] : 0.0f;
      mixed[h][i] = 0.0f;
    }
    K2_UNROLL for (uint i = 0; i < kRopeLanes; ++i) {
      const uint column = at.lane + i * kLanes;
      rope_query[h][i] = column < a.rope_dim ? rope[column] : 0.0f;
    }
    largest[h] = kMinusInfinity;
    total[h] = 0.0f;
  }

  for (uint first = 0; first < slot.positions; first += kTilePositions) {
    const uint positions = min(uint(kTilePositions), slot.positions - first);
    SyncThreads();  // the last tile is used up
    for (uint p = at.warp; p < positions; p += kAttentionWarps) {
      const uint position = slot.first_position + first + p;
      const ushort* row = a.rows[slot.row].pages[position / a.page_tokens] + position % a.page_tokens * width;
      for (uint i = at.lane; i < width; i += kLanes) tile[p * width + i] = row[i];
    }
    SyncThreads();

    K2_UNROLL for (uint h = 0; h < kAttentionHeads && first_head + h < a.heads; ++h) {
      float score = kMinusInfinity;  // of position `at.lane` of the tile
      for (uint p = 0; p < positions; ++p) {
        const ushort* row = tile + p * width;
        float sum = 0.0f;
        K2_UNROLL for (uint i = 0; i < kRankLanes; ++i) {
          const uint column = at.lane + i * kLanes;
          if (column < rank) sum = fmaf(query[h][i], Bf16Value(row[column]), sum);
        }
        K2_UNROLL for (uint i = 0; i < kRopeLanes; ++i) {
          const uint column = at.lane + i * kLanes;
          if (column < a.rope_dim) sum = fmaf(rope_query[h][i], Bf16Value(row[rank + column]), sum);
        }
        const float whole = SumOfLanes(sum) * a.scale;
        if (at.lane == p) score = whole;
      }
      const float now_largest = fmaxf(largest[h], MaxOfLanes(score));
      const float fading = Exp(largest[h] - now_largest);
      const float share = at.lane < positions ? Exp(score - now_largest) : 0.0f;
      largest[h] = now_largest;
      total[h] = fmaf(total[h], fading, SumOfLanes(share));
      K2_UNROLL for (uint i = 0; i < kRankLanes; ++i) mixed[h][i] *= fading;
      for (uint p = 0; p < positions; ++p) {
        const ushort* row = tile + p * width;
        const float weight = Shuffle(share, p);
        K2_UNROLL for (uint i = 0; i < kRankLanes; ++i) {
          const uint column = at.lane + i * kLanes;
          if (column < rank) mixed[h][i] = fmaf(weight, Bf16Value(row[column]), mixed[h][i]);
        }
      }
    }
  }

  K2_UNROLL for (uint h = 0; h < kAttentionHeads && first_head + h < a.heads; ++h) {
    float* part = a.parts + (ulong(at.block_y) * a.heads + first_head + h) * (rank + 2);
    K2_UNROLL for (uint i = 0; i < kRankLanes; ++i) {
      const uint column = at.lane + i * kLanes;
      if (column < rank) part[column] = mixed[h][i];
    }
    if (at.lane == 0) {
      part[rank] = largest[h];
      part[rank + 1] = total[h];
    }
  }
}
K2_KERNEL(k2_attend_block, AttendBlock, AttentionArguments, kAttentionWarps* kLanes)

// merged[row, h]: what the earlier passes left there, and the blocks of this one in order; divided in the
// last pass. Blocks are (heads, rows).
K2_DEVICE void MergeBlocks(const AttentionArguments& a, const Position& at) {
  const uint rank = a.kv_rank, first_slot = a.rows[at.block_y].first_slot, slots = a.rows[at.block_y].slots;
  float* merged = a.merged + (ulong(at.block_y) * a.heads + at.block_x) * (rank + 2);
  const float before = a.is_first ? kMinusInfinity : merged[rank],
              total_before = a.is_first ? 0.0f : merged[rank + 1];
  float largest = before, total = total_before;
  for (uint column = at.thread; column < rank; column += kRowThreads) {
    largest = before;
    total = total_before;
    float sum = a.is_first ? 0.0f : merged[column];
    for (uint s = 0; s < slots; ++s) {
      const float* part = a.parts + (ulong(first_slot + s) * a.heads + at.block_x) * (rank + 2);
      const float now_largest = fmaxf(largest, part[rank]);
      const float fading = Exp(largest - now_largest), gaining = Exp(part[rank] - now_largest);
      largest = now_largest;
      total = fmaf(total, fading, part[rank + 1] * gaining);
      sum = fmaf(sum, fading, part[column] * gaining);
    }
    merged[column] = a.is_last ? sum / total : sum;
  }
  SyncThreads();  // all have read what stood there
  if (at.thread == 0) {
    merged[rank] = largest;
    merged[rank + 1] = total;
  }
}
K2_KERNEL(k2_merge_blocks, MergeBlocks, AttentionArguments, kRowThreads)

// y[row, h] = W_UV[h] merged[row, h]. Blocks are (rows of W_UV, heads, tiles of rows).
template <typename Format, uint kTokens>
K2_DEVICE void ProjectValues(const AttentionArguments& a, const Position& at) {
  const uint d = at.block_x * kProductWarps + at.warp, head = at.block_y, first = at.block_z * kTokens;
  if (d >= a.value_dim) return;
  ulong offsets[kTokens];
  float sums[kTokens];
  K2_UNROLL for (uint n = 0; n < kTokens; ++n) {
    offsets[n] = (ulong(min(first + n, a.row_count - 1)) * a.heads + head) * (a.kv_rank + 2);
  }
  const uint row = head * (a.nope_dim + a.value_dim) + a.nope_dim + d;
  MultiplyRow<Format, kTokens>(a.kv_b, row, a.merged, offsets, at.lane, sums);
  if (at.lane != 0) return;
  K2_UNROLL for (uint n = 0; n < kTokens; ++n) {
    if (first + n >= a.row_count) break;
    a.y[ulong(a.rows[first + n].row) * a.y_stride + head * a.value_dim + d] = sums[n];
  }
}
K2_KERNELS_OF_TOKENS(k2_project_values, ProjectValues, AttentionArguments, kProductThreads, 1)
K2_KERNELS_OF_TOKENS(k2_project_values, ProjectValues, AttentionArguments, kProductThreads, 4)
