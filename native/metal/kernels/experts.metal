// Routed experts, and the feed-forward of a single one. A pair is one token at one of its experts: pair p belongs to
// token p / K. With few tokens every pair is a tile of its own; with many, pairs are sorted by expert, so that tiles
// share the reading of weights. Both ways add the same numbers in the same order.

enum ExpertPart : uint { kGate = 0, kUp = 1, kDown = 2 };

inline uint ExpertOf(constant ExpertsArguments& a, uint pair) {
  return a.ids ? uint(a.ids[pair]) : 0u;
}

inline bool IsIncluded(constant ExpertsArguments& a, uint expert) {
  return expert >= a.first_expert && expert < a.end_expert;
}

// Without sorting: pairs [kTokens * index, ...) of the only expert, or one pair.
template <uint kTokens>
inline ExpertTile TileAt(constant ExpertsArguments& a, uint index) {
  if (a.tiles) return a.tiles[index];
  ExpertTile tile;
  tile.first = index * kTokens;
  tile.count = min(kTokens, a.pairs - tile.first);
  tile.expert = ExpertOf(a, tile.first);
  if (!IsIncluded(a, tile.expert)) tile.count = 0;
  return tile;
}

inline uint PairAt(constant ExpertsArguments& a, thread const ExpertTile& tile, uint n) {
  const uint index = tile.first + min(n, tile.count - 1);
  return a.sorted ? a.sorted[index] : index;
}

// One threadgroup. Thread e counts the pairs of expert e, e + threads, ... and lists them in order of pairs.
[[kernel]] void SortPairs(constant ExpertsArguments& a [[buffer(0)]], K2_POSITION) {
  K2_THREADGROUP(uint, first_pairs, K2_MOST_EXPERTS);
  K2_THREADGROUP(uint, first_tiles, K2_MOST_EXPERTS);
  for (uint e = thread_index; e < a.expert_count; e += K2_ROW_THREADS) {
    uint count = 0;
    for (uint pair = 0; pair < a.pairs; ++pair) count += ExpertOf(a, pair) == e ? 1u : 0u;
    first_pairs[e] = IsIncluded(a, e) ? count : 0u;
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (thread_index == 0) {
    uint pairs = 0, tiles = 0;
    for (uint e = 0; e < a.expert_count; ++e) {
      const uint count = first_pairs[e];
      first_pairs[e] = pairs;
      first_tiles[e] = tiles;
      pairs += count;
      tiles += (count + a.tile_pairs - 1) / a.tile_pairs;
    }
    for (uint i = tiles; i < a.tile_count; ++i) a.tiles[i].count = 0;
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  for (uint e = thread_index; e < a.expert_count; e += K2_ROW_THREADS) {
    if (!IsIncluded(a, e)) continue;
    uint next = first_pairs[e];
    for (uint pair = 0; pair < a.pairs; ++pair) {
      if (ExpertOf(a, pair) == e) a.sorted[next++] = pair;
    }
    uint tile = first_tiles[e];
    for (uint at = first_pairs[e]; at < next; at += a.tile_pairs) {
      a.tiles[tile].expert = e;
      a.tiles[tile].first = at;
      a.tiles[tile++].count = min(a.tile_pairs, next - at);
    }
  }
}
K2_KERNEL(SortPairs)

// y[pair] = silu(gate x) * up x. Groups are (rows of the weights, tiles); experts of other formats are left to the
// kernels of those.
template <typename Format, uint kTokens>
[[kernel]] void ExpertsGateUp(constant ExpertsArguments& a [[buffer(0)]], K2_POSITION) {
  const ExpertTile tile = TileAt<kTokens>(a, group.y);
  if (tile.count == 0) return;
  const WeightArguments gate = a.experts[tile.expert].parts[kGate];
  const WeightArguments up = a.experts[tile.expert].parts[kUp];
  const uint row = ProductRow(group.x, simd_index);
  if (gate.storage != Format::kStorage || row >= gate.rows) return;
  ulong offsets[kTokens];
  for (uint n = 0; n < kTokens; ++n) offsets[n] = ulong(PairAt(a, tile, n) / a.pairs_a_row) * a.x_stride;
  const Products<kTokens> gates = Multiply<Format, kTokens>(gate, row, gate.rows, a.x, offsets, lane);
  const Products<kTokens> ups = Multiply<Format, kTokens>(up, row, gate.rows, a.x, offsets, lane);
  if (lane != 0) return;
  for (uint n = 0; n < kTokens && n < tile.count; ++n) {
    device float* y = a.y + ulong(PairAt(a, tile, n)) * a.y_stride + row;
    for (uint r = 0; r < K2_PRODUCT_ROWS && row + r < gate.rows; ++r) y[r] = Silu(gates.of[r][n]) * ups.of[r][n];
  }
}
K2_KERNELS_OF_FORMATS("experts_gate_up", ExpertsGateUp)

// y[pair] = W x of one part of the pair's expert. Groups and formats as above.
template <typename Format, uint kTokens>
[[kernel]] void ExpertsPart(constant ExpertsArguments& a [[buffer(0)]], K2_POSITION) {
  const ExpertTile tile = TileAt<kTokens>(a, group.y);
  if (tile.count == 0) return;
  const WeightArguments w = a.experts[tile.expert].parts[a.part];
  const uint row = ProductRow(group.x, simd_index);
  if (w.storage != Format::kStorage || row >= w.rows) return;
  ulong offsets[kTokens];
  for (uint n = 0; n < kTokens; ++n) offsets[n] = ulong(PairAt(a, tile, n) / a.pairs_a_row) * a.x_stride;
  const Products<kTokens> products = Multiply<Format, kTokens>(w, row, w.rows, a.x, offsets, lane);
  if (lane != 0) return;
  for (uint n = 0; n < kTokens && n < tile.count; ++n) {
    device float* y = a.y + ulong(PairAt(a, tile, n)) * a.y_stride + row;
    for (uint r = 0; r < K2_PRODUCT_ROWS && row + r < w.rows; ++r) y[r] = products.of[r][n];
  }
}
K2_KERNELS_OF_FORMATS("experts_part", ExpertsPart)

// y[token] += weight * down x[pair], expert by expert in ascending id. Groups are (rows of the weights, tokens).
template <typename Format>
[[kernel]] void ExpertsDown(constant ExpertsArguments& a [[buffer(0)]], K2_POSITION) {
  const uint row = ProductRow(group.x, simd_index), rows = a.columns;
  if (row >= rows) return;
  device float* y = a.y + ulong(group.y) * a.y_stride + row;
  float sums[K2_PRODUCT_ROWS];
  for (uint r = 0; r < K2_PRODUCT_ROWS; ++r) sums[r] = row + r < rows ? y[r] : 0.0f;
  for (uint j = 0; j < a.chosen; ++j) {
    const uint pair = group.y * a.chosen + j;
    if (!IsIncluded(a, ExpertOf(a, pair))) continue;
    const WeightArguments down = a.experts[ExpertOf(a, pair)].parts[kDown];
    ulong offsets[1] = {ulong(pair) * a.x_stride};
    const Products<1> products = Multiply<Format, 1>(down, row, rows, a.x, offsets, lane);
    for (uint r = 0; r < K2_PRODUCT_ROWS; ++r) sums[r] = fma(a.weights[pair], products.of[r][0], sums[r]);
  }
  if (lane != 0) return;
  for (uint r = 0; r < K2_PRODUCT_ROWS && row + r < rows; ++r) y[r] = sums[r];
}
K2_KERNEL_OF("experts_down_bf16", ExpertsDown, Bf16Format)
K2_KERNEL_OF("experts_down_f16", ExpertsDown, F16Format)
K2_KERNEL_OF("experts_down_f32", ExpertsDown, F32Format)
K2_KERNEL_OF("experts_down_fp8", ExpertsDown, F8Format)
K2_KERNEL_OF("experts_down_int4", ExpertsDown, Int4Format)

// y[token] += weight * x[pair], in ascending id. Groups are (columns, tokens).
[[kernel]] void ExpertsAdd(constant ExpertsArguments& a [[buffer(0)]], K2_POSITION) {
  const uint column = ColumnOf(group, thread_index);
  if (column >= a.columns) return;
  device float* y = a.y + ulong(group.y) * a.y_stride + column;
  float sum = *y;
  for (uint j = 0; j < a.chosen; ++j) {
    const uint pair = group.y * a.chosen + j;
    if (!IsIncluded(a, ExpertOf(a, pair))) continue;
    sum = fma(a.weights[pair], a.x[ulong(pair) * a.x_stride + column], sum);
  }
  *y = sum;
}
K2_KERNEL(ExpertsAdd)
