// How weights are read: a lane takes 16 bytes of a row at a time (a chunk), neighbouring lanes neighbouring chunks,
// straight from the layout of the file. Each byte is read once for all tokens of a tile.

// The formats: numbers in a word of 4 bytes, number i of such a word, and one number of a row by itself.
struct Bf16Format {
  static constant constexpr const uint kStorage = kBf16, kInWord = 2;
  static constant constexpr const bool kIsScaled = false;
  static float OfWord(uint word, uint i) { return i == 0 ? Bf16Value(word & 0xffffu) : as_type<float>(word & 0xffff0000u); }
  static float One(WeightBytes row, uint column) { return Bf16Value(TwoBytes(row + column * 2)); }
};

struct F16Format {
  static constant constexpr const uint kStorage = kF16, kInWord = 2;
  static constant constexpr const bool kIsScaled = false;
  static float OfWord(uint word, uint i) { return F16Value(word >> 16 * i & 0xffffu); }
  static float One(WeightBytes row, uint column) { return F16Value(TwoBytes(row + column * 2)); }
};

struct F32Format {
  static constant constexpr const uint kStorage = kF32, kInWord = 1;
  static constant constexpr const bool kIsScaled = false;
  static float OfWord(uint word, uint) { return as_type<float>(word); }
  static float One(WeightBytes row, uint column) { return as_type<float>(FourBytes(row + column * 4)); }
};

struct F8Format {
  static constant constexpr const uint kStorage = kF8E4m3, kInWord = 4;
  static constant constexpr const bool kIsScaled = true;
  static float OfWord(uint word, uint i) { return E4m3Value(word >> 8 * i & 0xffu); }
  static float One(WeightBytes row, uint column) { return E4m3Value(row[column]); }
};

struct Int4Format {
  static constant constexpr const uint kStorage = kInt4, kInWord = 8;
  static constant constexpr const bool kIsScaled = true;
  static float OfWord(uint word, uint i) { return float(int(word >> 4 * i & 0xfu) - 8); }
  static float One(WeightBytes row, uint column) {
    return float(int(uint(row[column / 2]) >> 4 * (column % 2) & 0xfu) - 8);
  }
};

inline float ScaleAt(thread const WeightArguments& w, uint row, uint column) {
  const uint block = w.block_shift < 32 ? column >> w.block_shift : column / w.block_columns;
  const ulong block_row = w.block_rows == 1 ? row : row / w.block_rows;
  return PlainNumber(w.scales, w.scale_storage, w.are_scales_aligned != 0, block_row * w.scale_columns + block);
}

// Numbers [column, column + 4 kInWord) of a row into `values`, zeros behind its end; returns the factor that is
// still to be applied to all of them.
template <typename Format>
inline float LoadChunk(thread const WeightArguments& w, uint row, uint column, thread float* values) {
  constexpr uint kChunk = 4 * Format::kInWord;
  WeightBytes bytes = w.data + ulong(row) * w.row_bytes;
  if (column + kChunk <= w.columns) {
    for (uint i = 0; i < 4; ++i) {
      WeightBytes at = bytes + (column / Format::kInWord + i) * 4;
      const uint word = w.is_aligned != 0 ? *(device const uint*)(at) : FourBytes(at);
      for (uint j = 0; j < Format::kInWord; ++j) values[i * Format::kInWord + j] = Format::OfWord(word, j);
    }
  } else {
    for (uint i = 0; i < kChunk; ++i) values[i] = column + i < w.columns ? Format::One(bytes, column + i) : 0.0f;
  }
  if (!Format::kIsScaled) return 1.0f;
  if (w.block_columns >= w.columns || w.block_columns % kChunk == 0) return ScaleAt(w, row, column);
  for (uint i = 0; i < kChunk; ++i) values[i] *= column + i < w.columns ? ScaleAt(w, row, column + i) : 0.0f;
  return 1.0f;
}

// Products of K2_PRODUCT_ROWS rows of a weight with several vectors.
template <uint kTokens>
struct Products {
  float of[K2_PRODUCT_ROWS][kTokens];
};

// Rows [first_row, end_row) of w, at most K2_PRODUCT_ROWS of them, times the vectors at x + offsets[n]; by the lanes
// of one simdgroup, and all lanes receive the result. The order of a sum depends on the columns and the format
// alone: a lane adds its chunks from left to right, then the lanes are added.
template <typename Format, uint kTokens>
inline Products<kTokens> Multiply(thread const WeightArguments& w, uint first_row, uint end_row,
                                  device const float* x, thread const ulong* offsets, uint lane) {
  constexpr uint kChunk = 4 * Format::kInWord;
  Products<kTokens> sums;
  for (uint r = 0; r < K2_PRODUCT_ROWS; ++r) {
    for (uint n = 0; n < kTokens; ++n) sums.of[r][n] = 0.0f;
  }
  float values[kChunk];
  for (uint column = lane * kChunk; column < w.columns; column += K2_LANES * kChunk) {
    const bool is_whole = column + kChunk <= w.columns;
    for (uint r = 0; r < K2_PRODUCT_ROWS; ++r) {
      if (first_row + r >= end_row) break;
      const float scale = LoadChunk<Format>(w, first_row + r, column, values);
      for (uint n = 0; n < kTokens; ++n) {
        device const float* at = x + offsets[n] + column;
        float sum = 0.0f;
        if (is_whole) {
          for (uint i = 0; i < kChunk; ++i) sum = fma(values[i], at[i], sum);
        } else {
          for (uint i = 0; i < kChunk; ++i) sum = fma(values[i], column + i < w.columns ? at[i] : 0.0f, sum);
        }
        sums.of[r][n] = fma(scale, sum, sums.of[r][n]);
      }
    }
  }
  for (uint r = 0; r < K2_PRODUCT_ROWS; ++r) {
    for (uint n = 0; n < kTokens; ++n) sums.of[r][n] = simd_sum(sums.of[r][n]);
  }
  return sums;
}

// First row of the weight that a simdgroup takes.
inline uint ProductRow(uint group, uint simd_index) {
  return (group * K2_PRODUCT_SIMDGROUPS + simd_index) * K2_PRODUCT_ROWS;
}

// Makes a kernel template of a format and a number of tokens known for all formats, alone and in tiles.
#define K2_KERNELS_OF_FORMATS(name, function)                          \
  K2_KERNEL_OF(name "_bf16_1", function, Bf16Format, 1)                \
  K2_KERNEL_OF(name "_f16_1", function, F16Format, 1)                  \
  K2_KERNEL_OF(name "_f32_1", function, F32Format, 1)                  \
  K2_KERNEL_OF(name "_fp8_1", function, F8Format, 1)                   \
  K2_KERNEL_OF(name "_int4_1", function, Int4Format, 1)                \
  K2_KERNEL_OF(name "_bf16_4", function, Bf16Format, K2_PRODUCT_TOKENS) \
  K2_KERNEL_OF(name "_f16_4", function, F16Format, K2_PRODUCT_TOKENS)  \
  K2_KERNEL_OF(name "_f32_4", function, F32Format, K2_PRODUCT_TOKENS)  \
  K2_KERNEL_OF(name "_fp8_4", function, F8Format, K2_PRODUCT_TOKENS)   \
  K2_KERNEL_OF(name "_int4_4", function, Int4Format, K2_PRODUCT_TOKENS)
