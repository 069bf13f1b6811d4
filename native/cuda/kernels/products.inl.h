// Products with weights: in float by warps, and with inputs rounded to BF16 on tensor cores. The order of a
// sum depends on the columns and the format alone, so neighbours change no bit of a token.

// A row of a weight times the vectors at x + offsets[n], by the lanes of a warp; all receive the result. A
// lane adds its chunks from left to right, then the lanes are added.
template <typename Format, uint kTokens>
K2_DEVICE void MultiplyRow(const WeightArguments& w, uint row, const float* x,
                           const ulong (&offsets)[kTokens], uint lane, float (&sums)[kTokens]) {
  constexpr uint kChunk = 4 * Format::kInWord;
  K2_UNROLL for (uint n = 0; n < kTokens; ++n) sums[n] = 0.0f;
  for (uint column = lane * kChunk; column < w.columns; column += kLanes * kChunk) {
    float values[kChunk];
    const float scale = LoadChunk<Format>(w, row, column, values);
    const bool is_whole = column + kChunk <= w.columns;
    K2_UNROLL for (uint n = 0; n < kTokens; ++n) {
      const float* at = x + offsets[n] + column;
      float sum = 0.0f;
      if (is_whole) {
        K2_UNROLL for (uint i = 0; i < kChunk; ++i) sum = fmaf(values[i], at[i], sum);
      } else {
        K2_UNROLL for (uint i = 0; i < kChunk; ++i) {
          sum = fmaf(values[i], column + i < w.columns ? at[i] : 0.0f, sum);
        }
      }
      sums[n] = fmaf(scale, sum, sums[n]);
    }
  }
  K2_UNROLL for (uint n = 0; n < kTokens; ++n) sums[n] = SumOfLanes(sums[n]);
}

// Where the operands of `kTiles` tiles of tokens begin: rows of 16-bit numbers, one per lane and tile.
template <uint kTiles>
struct TokenRows {
  const ushort* of[kTiles];
};

// The share of one warp in a tile of rows times tokens: units of 64 columns `warp`, `warp` + 4, ... in order.
// A scale multiplies the sum of a group of 32 columns, which is exact but for the adding of float.
template <typename Format, uint kTiles>
K2_DEVICE void MultiplyShare(const WeightArguments& w, uint tile, const TokenRows<kTiles>& tokens,
                             const Position& at, float (&sums)[kTiles][4]) {
  constexpr uint kLoads = Format::kTileLoads;
  [[maybe_unused]] constexpr uint kAhead = kTiles == 1 ? 4 : 1;  // units whose loads are under way at once
  const uint units = (w.columns + kTileColumns - 1) / kTileColumns, four = at.lane % 4;
  const uint low = min(tile * kTileRows + at.lane / 4, w.rows - 1);
  const uint high = min(tile * kTileRows + at.lane / 4 + 8, w.rows - 1);
  WeightBytes data = w.data + ulong(tile) * units * kLoads * 512 + at.lane * 16;
  K2_UNROLL for (uint n = 0; n < kTiles; ++n) { K2_UNROLL for (uint i = 0; i < 4; ++i) sums[n][i] = 0.0f; }
  K2_UNROLL_BY(kAhead) for (uint unit = at.warp; unit < units; unit += kProductWarps) {
    Words words[kLoads];
    K2_UNROLL for (uint i = 0; i < kLoads; ++i) {
      words[i] = LoadWords(data + (ulong(unit) * kLoads + i) * 512);
    }
    K2_UNROLL for (uint group = 0; group < 2; ++group) {
      const uint column = unit * kTileColumns + group * 32;
      uint a[2][4];
      Format::Operands(words, group, a);
      // Behind the last column both factors are zeros, and any scale of the row will do.
      const uint scaled = min(column, w.columns - 1);
      const float low_scale = Format::kIsScaled ? ScaleAt(w, low, scaled) : 1.0f;
      const float high_scale = Format::kIsScaled ? ScaleAt(w, high, scaled) : 1.0f;
      K2_UNROLL for (uint n = 0; n < kTiles; ++n) {
        const Words b = LoadInput(tokens.of[n] + column + 8 * four);
        float product[4] = {0.0f, 0.0f, 0.0f, 0.0f};
        MultiplyTiles(product, a[0], b.x, b.y, at);
        MultiplyTiles(product, a[1], b.z, b.w, at);
        sums[n][0] = fmaf(low_scale, product[0], sums[n][0]);
        sums[n][1] = fmaf(low_scale, product[1], sums[n][1]);
        sums[n][2] = fmaf(high_scale, product[2], sums[n][2]);
        sums[n][3] = fmaf(high_scale, product[3], sums[n][3]);
      }
    }
  }
}

// Adds the shares of the warps in order. Number i of the result is that of thread i % 128 and tile i / 128.
template <uint kTiles>
K2_DEVICE void AddShares(float* shares, const float (&sums)[kTiles][4], const Position& at,
                         float (&wholes)[kTiles]) {
  K2_UNROLL for (uint n = 0; n < kTiles; ++n) {
    K2_UNROLL for (uint i = 0; i < 4; ++i) {
      shares[((at.warp * kTiles + n) * 4 + i) * kLanes + at.lane] = sums[n][i];
    }
  }
  SyncThreads();
  K2_UNROLL for (uint n = 0; n < kTiles; ++n) {
    float sum = 0.0f;
    K2_UNROLL for (uint warp = 0; warp < kProductWarps; ++warp) {
      sum += shares[(warp * kTiles + n) * 4 * kLanes + at.thread];
    }
    wholes[n] = sum;
  }
}

// What a thread holds after AddShares: a row of the tile, and a token of each tile of tokens.
struct Place {
  uint row, token;
};
K2_DEVICE Place PlaceOf(const Position& at) {
  const uint i = at.thread / kLanes;
  return {at.lane / 4 + (i / 2) * 8, at.lane % 4 * 2 + i % 2};
}

// y = x W^T in float. Blocks are (rows of the weight, tiles of tokens); a warp takes a row.
template <typename Format, uint kTokens>
K2_DEVICE void LinearRows(const LinearArguments& a, const Position& at) {
  const uint row = at.block_x * kProductWarps + at.warp, token = at.block_y * kTokens;
  if (row >= a.w.rows) return;
  ulong offsets[kTokens];
  float sums[kTokens];
  K2_UNROLL for (uint n = 0; n < kTokens; ++n) offsets[n] = ulong(min(token + n, a.tokens - 1)) * a.x_stride;
  MultiplyRow<Format, kTokens>(a.w, row, a.x, offsets, at.lane, sums);
  if (at.lane != 0) return;
  K2_UNROLL for (uint n = 0; n < kTokens; ++n) {
    if (token + n < a.tokens) a.y[ulong(token + n) * a.y_stride + row] = sums[n];
  }
}
K2_KERNELS_OF_TOKENS(k2_linear_rows, LinearRows, LinearArguments, kProductThreads, 1)
K2_KERNELS_OF_TOKENS(k2_linear_rows, LinearRows, LinearArguments, kProductThreads, 4)

// y = x W^T on tensor cores. Blocks are (tiles of rows, groups of tiles of tokens).
template <typename Format, uint kTiles>
K2_DEVICE void LinearTiles(const LinearArguments& a, const Position& at) {
  K2_SHARED(float, shares, kProductWarps* kTiles * 4 * kLanes);
  const uint first = at.block_y * kTiles * kTileTokens;
  TokenRows<kTiles> tokens;
  K2_UNROLL for (uint n = 0; n < kTiles; ++n) {
    const uint token = min(first + n * kTileTokens + at.lane / 4, a.tokens - 1);
    tokens.of[n] = a.rounded + ulong(token) * a.x_stride;
  }
  float sums[kTiles][4], wholes[kTiles];
  MultiplyShare<Format, kTiles>(a.w, at.block_x, tokens, at, sums);
  AddShares<kTiles>(shares, sums, at, wholes);
  const Place place = PlaceOf(at);
  const uint row = at.block_x * kTileRows + place.row;
  if (row >= a.w.rows) return;
  K2_UNROLL for (uint n = 0; n < kTiles; ++n) {
    const uint token = first + n * kTileTokens + place.token;
    if (token < a.tokens) a.y[ulong(token) * a.y_stride + row] = wholes[n];
  }
}
K2_KERNELS_OF_TILES(k2_linear_tiles, LinearTiles, LinearArguments, 1)
K2_KERNELS_OF_TILES(k2_linear_tiles, LinearTiles, LinearArguments, 4)
