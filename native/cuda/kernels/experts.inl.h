// Routed experts, and the feed-forward of a single one. A pair is one token at one of its experts: pair p
// belongs to token p / K. Pairs are sorted by expert, so that up to 32 of them share the reading of weights;
// a pair's bits do not depend on which share its tile.

enum ExpertPart : uint { kGate = 0, kUp = 1, kDown = 2 };

K2_DEVICE uint ExpertOf(const ExpertsArguments& a, uint pair) { return a.ids ? uint(a.ids[pair]) : 0u; }

K2_DEVICE bool IsIncluded(const ExpertsArguments& a, uint expert) {
  return expert >= a.first_expert && expert < a.end_expert;
}

K2_DEVICE ExpertTile TileAt(const ExpertsArguments& a, uint index) {
  if (a.tiles) return a.tiles[index];
  const uint first = index * a.tile_pairs;
  return {0, first, min(a.tile_pairs, a.pairs - first)};
}

K2_DEVICE uint PairAt(const ExpertsArguments& a, const ExpertTile& tile, uint n) {
  const uint index = tile.first + min(n, tile.count - 1);
  return a.sorted ? a.sorted[index] : index;
}

// One block. Thread e counts the pairs of expert e, e + threads, ... and lists them in order of pairs.
K2_DEVICE void SortPairs(const ExpertsArguments& a, const Position& at) {
  K2_SHARED(uint, first_pairs, kMostExperts);
  K2_SHARED(uint, first_tiles, kMostExperts);
  for (uint e = at.thread; e < a.expert_count; e += kRowThreads) {
    uint count = 0;
    for (uint pair = 0; pair < a.pairs; ++pair) count += ExpertOf(a, pair) == e ? 1u : 0u;
    first_pairs[e] = IsIncluded(a, e) ? count : 0u;
  }
  SyncThreads();
  if (at.thread == 0) {
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
  SyncThreads();
  for (uint e = at.thread; e < a.expert_count; e += kRowThreads) {
    if (!IsIncluded(a, e)) continue;
    uint next = first_pairs[e];
    for (uint pair = 0; pair < a.pairs; ++pair) {
      if (ExpertOf(a, pair) == e) a.sorted[next++] = pair;
    }
    uint tile = first_tiles[e];
    for (uint i = first_pairs[e]; i < next; i += a.tile_pairs) {
      a.tiles[tile++] = {e, i, min(a.tile_pairs, next - i)};
    }
  }
}
K2_KERNEL(k2_sort_pairs, SortPairs, ExpertsArguments, kRowThreads)

template <typename Format>
K2_DEVICE bool Takes(const WeightArguments& w, bool tiled) {
  return w.storage == Format::kStorage && (w.is_tiled != 0) == tiled;
}

template <uint kTiles>
K2_DEVICE TokenRows<kTiles> InputsOf(const ExpertsArguments& a, const ExpertTile& tile, const Position& at) {
  TokenRows<kTiles> tokens;
  K2_UNROLL for (uint n = 0; n < kTiles; ++n) {
    const uint pair = PairAt(a, tile, n * kTileTokens + at.lane / 4);
    tokens.of[n] = a.rounded + ulong(pair / a.pairs_a_row) * a.x_stride;
  }
  return tokens;
}

// y[pair] = silu(gate x) * up x on tensor cores. Blocks are (tiles of rows, tiles of pairs); experts of other
// formats are left to the kernels of those.
template <typename Format, uint kTiles>
K2_DEVICE void ExpertsGateUp(const ExpertsArguments& a, const Position& at) {
  K2_SHARED(float, gate_shares, kProductWarps* kTiles * 4 * kLanes);
  K2_SHARED(float, up_shares, kProductWarps* kTiles * 4 * kLanes);
  const ExpertTile tile = TileAt(a, at.block_y);
  if (tile.count == 0) return;
  const WeightArguments gate = a.experts[tile.expert].parts[kGate];
  if (!Takes<Format>(gate, true) || at.block_x * kTileRows >= gate.rows) return;
  const WeightArguments up = a.experts[tile.expert].parts[kUp];
  const TokenRows<kTiles> tokens = InputsOf<kTiles>(a, tile, at);
  float sums[kTiles][4], gates[kTiles], ups[kTiles];
  MultiplyShare<Format, kTiles>(gate, at.block_x, tokens, at, sums);
  AddShares<kTiles>(gate_shares, sums, at, gates);
  MultiplyShare<Format, kTiles>(up, at.block_x, tokens, at, sums);
  AddShares<kTiles>(up_shares, sums, at, ups);
  const Place place = PlaceOf(at);
  const uint row = at.block_x * kTileRows + place.row;
  if (row >= gate.rows) return;
  K2_UNROLL for (uint n = 0; n < kTiles; ++n) {
    const uint index = n * kTileTokens + place.token;
    if (index < tile.count) a.y[ulong(PairAt(a, tile, index)) * a.y_stride + row] = Silu(gates[n]) * ups[n];
  }
}
K2_KERNELS_OF_TILES(k2_experts_gate_up, ExpertsGateUp, ExpertsArguments, 1)
K2_KERNELS_OF_TILES(k2_experts_gate_up, ExpertsGateUp, ExpertsArguments, 4)

// y[pair] = W x of one part of the pair's expert, on tensor cores. Blocks and formats as above.
template <typename Format, uint kTiles>
K2_DEVICE void ExpertsPart(const ExpertsArguments& a, const Position& at) {
  K2_SHARED(float, shares, kProductWarps* kTiles * 4 * kLanes);
  const ExpertTile tile = TileAt(a, at.block_y);
  if (tile.count == 0) return;
  const WeightArguments w = a.experts[tile.expert].parts[a.part];
  if (!Takes<Format>(w, true) || at.block_x * kTileRows >= w.rows) return;
  const TokenRows<kTiles> tokens = InputsOf<kTiles>(a, tile, at);
  float sums[kTiles][4], wholes[kTiles];
  MultiplyShare<Format, kTiles>(w, at.block_x, tokens, at, sums);
  AddShares<kTiles>(shares, sums, at, wholes);
  const Place place = PlaceOf(at);
  const uint row = at.block_x * kTileRows + place.row;
  if (row >= w.rows) return;
  K2_UNROLL for (uint n = 0; n < kTiles; ++n) {
    const uint index = n * kTileTokens + place.token;
    if (index < tile.count) a.y[ulong(PairAt(a, tile, index)) * a.y_stride + row] = wholes[n];
  }
}
K2_KERNELS_OF_TILES(k2_experts_part, ExpertsPart, ExpertsArguments, 1)
K2_KERNELS_OF_TILES(k2_experts_part, ExpertsPart, ExpertsArguments, 4)

// The same in float, for weights that tensor cores do not take. A warp takes a row, the block one pair after
// the other.
template <typename Format>
K2_DEVICE void ExpertsRows(const ExpertsArguments& a, const Position& at) {
  const ExpertTile tile = TileAt(a, at.block_y);
  if (tile.count == 0) return;
  const WeightArguments w = a.experts[tile.expert].parts[a.part];
  const uint row = at.block_x * kProductWarps + at.warp;
  if (!Takes<Format>(w, false) || row >= w.rows) return;
  for (uint n = 0; n < tile.count; ++n) {
    const uint pair = PairAt(a, tile, n);
    const ulong offsets[1] = {ulong(pair / a.pairs_a_row) * a.x_stride};
    float sums[1];
    MultiplyRow<Format, 1>(w, row, a.x, offsets, at.lane, sums);
    if (at.lane == 0) a.y[ulong(pair) * a.y_stride + row] = sums[0];
  }
}
K2_KERNELS_OF_FORMATS(k2_experts_rows, ExpertsRows, ExpertsArguments, kProductThreads)

// y[token] += weight * x[pair], in ascending id. Blocks are (columns, tokens).
K2_DEVICE void ExpertsAdd(const ExpertsArguments& a, const Position& at) {
  const uint column = ColumnOf(at);
  if (column >= a.columns) return;
  float* y = a.y + ulong(at.block_y) * a.y_stride + column;
  float sum = *y;
  for (uint j = 0; j < a.chosen; ++j) {
    const uint pair = at.block_y * a.chosen + j;
    if (!IsIncluded(a, ExpertOf(a, pair))) continue;
    sum = fmaf(a.weights[pair], a.x[ulong(pair) * a.x_stride + column], sum);
  }
  *y = sum;
}
K2_KERNEL(k2_experts_add, ExpertsAdd, ExpertsArguments, kRowThreads)
