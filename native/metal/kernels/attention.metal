// Latent attention in the absorbed form: every head's scores are products with the cached latent itself. Four steps
// of one pass: the query is brought into the basis of the latent; blocks of positions give a part each; the parts of
// a row are merged in order; the result leaves the basis of the latent.
//
// A page of the cache holds rows of [R latent | Dr rope key] in BF16. Where blocks and tiles begin depends on the
// position alone, so neither the pass nor the neighbours change a bit.

// Groups are (columns, rows).
[[kernel]] void AppendKv(constant AppendArguments& a [[buffer(0)]], K2_POSITION) {
  const uint column = ColumnOf(group, thread_index);
  if (column >= a.kv_rank + a.rope_dim) return;
  const float value = column < a.kv_rank
                          ? a.latent[ulong(group.y) * a.latent_stride + column]
                          : a.rope_key[ulong(group.y) * a.rope_key_stride + column - a.kv_rank];
  ((device ushort*)a.rows[group.y])[column] = RoundToBf16(value);
}
K2_KERNEL(AppendKv)

// absorbed[row, h] = q_nope[row, h] W_UK[h]. Groups are (chunks of columns, heads, tiles of rows); a thread adds its
// chunk's columns over d in order.
template <typename Format, uint kTokens>
[[kernel]] void AbsorbQuery(constant AttentionArguments& a [[buffer(0)]], K2_POSITION) {
  constexpr uint kChunk = 4 * Format::kInWord;
  const WeightArguments w = a.kv_b;
  const uint column = (group.x * K2_PRODUCT_SIMDGROUPS * K2_LANES + thread_index) * kChunk;
  if (column >= a.kv_rank) return;
  const uint head = group.y, first_weight = head * (a.nope_dim + a.value_dim);
  device const float* q[kTokens];
  float sums[kTokens][kChunk], values[kChunk];
  for (uint n = 0; n < kTokens; ++n) {
    const uint row = min(group.z * kTokens + n, a.row_count - 1);
    q[n] = a.q + ulong(a.rows[row].row) * a.q_stride + head * (a.nope_dim + a.rope_dim);
    for (uint i = 0; i < kChunk; ++i) sums[n][i] = 0.0f;
  }
  for (uint d = 0; d < a.nope_dim; ++d) {
    const float scale = LoadChunk<Format>(w, first_weight + d, column, values);
    for (uint n = 0; n < kTokens; ++n) {
      const float factor = q[n][d];
      for (uint i = 0; i < kChunk; ++i) sums[n][i] = fma(scale * values[i], factor, sums[n][i]);
    }
  }
  for (uint n = 0; n < kTokens && group.z * kTokens + n < a.row_count; ++n) {
    device float* to = a.absorbed + (ulong(group.z * kTokens + n) * a.heads + head) * a.kv_rank + column;
    for (uint i = 0; i < kChunk && column + i < a.kv_rank; ++i) to[i] = sums[n][i];
  }
}
K2_KERNELS_OF_FORMATS("absorb_query", AbsorbQuery)

// parts[slot, h]: softmax over one block of positions, not yet divided. Groups are (groups of heads, slots); all heads
// of a threadgroup share the tile of latents.
[[kernel]] void AttendBlock(constant AttentionArguments& a [[buffer(0)]], K2_POSITION) {
  constexpr uint kRankLanes = K2_MOST_RANK / K2_LANES, kRopeLanes = K2_MOST_ROPE / K2_LANES;
  K2_THREADGROUP(ushort, tile, K2_TILE_POSITIONS * (K2_MOST_RANK + K2_MOST_ROPE));
  const AttentionSlot slot = a.slots[group.y];
  const uint rank = a.kv_rank, width = rank + a.rope_dim;
  const uint first_head = (group.x * K2_ATTENTION_SIMDGROUPS + simd_index) * K2_ATTENTION_HEADS;

  float query[K2_ATTENTION_HEADS][kRankLanes], rope_query[K2_ATTENTION_HEADS][kRopeLanes];
  float mixed[K2_ATTENTION_HEADS][kRankLanes], largest[K2_ATTENTION_HEADS], total[K2_ATTENTION_HEADS];
  for (uint h = 0; h < K2_ATTENTION_HEADS; ++h) {
    const uint head = min(first_head + h, a.heads - 1);
    device const float* q = a.absorbed + (ulong(slot.row) * a.heads + head) * rank;
    device const float* rope = a.q + ulong(a.rows[slot.row].row) * a.q_stride +
                               head * (a.nope_dim + a.rope_dim) + a.nope_dim;
    for (uint i = 0; i < kRankLanes; ++i) {
      const uint column = lane + i * K2_LANES;
      query[h][i] = column < rank ? q[column] : 0.0f;
      mixed[h][i] = 0.0f;
    }
    for (uint i = 0; i < kRopeLanes; ++i) {
      const uint column = lane + i * K2_LANES;
      rope_query[h][i] = column < a.rope_dim ? rope[column] : 0.0f;
    }
    largest[h] = -INFINITY;
    total[h] = 0.0f;
  }

  for (uint first = 0; first < slot.positions; first += K2_TILE_POSITIONS) {
    const uint positions = min(uint(K2_TILE_POSITIONS), slot.positions - first);
    threadgroup_barrier(mem_flags::mem_threadgroup);  // the last tile is used up
    for (uint p = simd_index; p < positions; p += K2_ATTENTION_SIMDGROUPS) {
      const uint position = slot.first_position + first + p;
      device const ushort* row = (device const ushort*)a.rows[slot.row].pages[position / a.page_tokens] +
                                 position % a.page_tokens * width;
      for (uint i = lane; i < width; i += K2_LANES) tile[p * width + i] = row[i];
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);

    for (uint h = 0; h < K2_ATTENTION_HEADS && first_head + h < a.heads; ++h) {
      float score = -INFINITY;  // of position `lane` of the tile
      for (uint p = 0; p < positions; ++p) {
        threadgroup const ushort* row = tile + p * width;
        float sum = 0.0f;
        for (uint i = 0; i < kRankLanes; ++i) {
          const uint column = lane + i * K2_LANES;
          if (column < rank) sum = fma(query[h][i], Bf16Value(row[column]), sum);
        }
        for (uint i = 0; i < kRopeLanes; ++i) {
          const uint column = lane + i * K2_LANES;
          if (column < a.rope_dim) sum = fma(rope_query[h][i], Bf16Value(row[rank + column]), sum);
        }
        const float whole = simd_sum(sum) * a.scale;
        if (lane == p) score = whole;
      }
      const float now_largest = max(largest[h], simd_max(score));
      const float fading = Exp(largest[h] - now_largest);
      const float share = lane < positions ? Exp(score - now_largest) : 0.0f;
      largest[h] = now_largest;
      total[h] = fma(total[h], fading, simd_sum(share));
      for (uint i = 0; i < kRankLanes; ++i) mixed[h][i] *= fading;
      for (uint p = 0; p < positions; ++p) {
        threadgroup const ushort* row = tile + p * width;
        const float weight = simd_shuffle(share, ushort(p));
        for (uint i = 0; i < kRankLanes; ++i) {
          const uint column = lane + i * K2_LANES;
          if (column < rank) mixed[h][i] = fma(weight, Bf16Value(row[column]), mixed[h][i]);
        }
      }
    }
  }

  for (uint h = 0; h < K2_ATTENTION_HEADS && first_head + h < a.heads; ++h) {
    device float* part = a.parts + (ulong(group.y) * a.heads + first_head + h) * (rank + 2);
    for (uint i = 0; i < kRankLanes; ++i) {
      const uint column = lane + i * K2_LANES;
      if (column < rank) part[column] = mixed[h][i];
    }
    if (lane == 0) {
      part[rank] = largest[h];
      part[rank + 1] = total[h];
    }
  }
}
K2_KERNEL(AttendBlock)

// merged[row, h]: what the earlier passes left there, and the blocks of this one in order; divided in the last pass.
// Groups are (heads, rows).
[[kernel]] void MergeBlocks(constant AttentionArguments& a [[buffer(0)]], K2_POSITION) {
  const uint rank = a.kv_rank, first_slot = a.rows[group.y].first_slot, slots = a.rows[group.y].slots;
  device float* merged = a.merged + (ulong(group.y) * a.heads + group.x) * (rank + 2);
  const float before = a.is_first ? -INFINITY : merged[rank], total_before = a.is_first ? 0.0f : merged[rank + 1];
  float largest = before, total = total_before;
  for (uint column = thread_index; column < rank; column += K2_ROW_THREADS) {
    largest = before;
    total = total_before;
    float sum = a.is_first ? 0.0f : merged[column];
    for (uint s = 0; s < slots; ++s) {
      device const float* part = a.parts + (ulong(first_slot + s) * a.heads + group.x) * (rank + 2);
      const float now_largest = max(largest, part[rank]);
      const float fading = Exp(largest - now_largest), gaining = Exp(part[rank] - now_largest);
      largest = now_largest;
      total = fma(total, fading, part[rank + 1] * gaining);
      sum = fma(sum, fading, part[column] * gaining);
    }
    merged[column] = a.is_last ? sum / total : sum;
  }
  threadgroup_barrier(mem_flags::mem_device);  // all have read what stood there
  if (thread_index == 0) {
    merged[rank] = largest;
    merged[rank + 1] = total;
  }
}
K2_KERNEL(MergeBlocks)

// y[row, h] = W_UV[h] merged[row, h]. Groups are (rows of W_UV, heads, tiles of rows).
template <typename Format, uint kTokens>
[[kernel]] void ProjectValues(constant AttentionArguments& a [[buffer(0)]], K2_POSITION) {
  const WeightArguments w = a.kv_b;
  const uint d = ProductRow(group.x, simd_index), head = group.y, first = group.z * kTokens;
  if (d >= a.value_dim) return;
  const uint first_weight = head * (a.nope_dim + a.value_dim) + a.nope_dim;
  ulong offsets[kTokens];
  for (uint n = 0; n < kTokens; ++n) {
    offsets[n] = (ulong(min(first + n, a.row_count - 1)) * a.heads + head) * (a.kv_rank + 2);
  }
  const Products<kTokens> products =
      Multiply<Format, kTokens>(w, first_weight + d, first_weight + a.value_dim, a.merged, offsets, lane);
  if (lane != 0) return;
  for (uint n = 0; n < kTokens && first + n < a.row_count; ++n) {
    device float* y = a.y + ulong(a.rows[first + n].row) * a.y_stride + head * a.value_dim + d;
    for (uint r = 0; r < K2_PRODUCT_ROWS && d + r < a.value_dim; ++r) y[r] = products.of[r][n];
  }
}
K2_KERNELS_OF_FORMATS("project_values", ProjectValues)
