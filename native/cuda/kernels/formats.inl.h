// How weights are read. In rows: a lane takes 16 bytes of a row at a time (a chunk), neighbouring lanes
// neighbouring chunks, for products in float. In tiles of 16 rows and 64 columns: a lane's 16 bytes are its
// operand of tensor operations, so that a warp loads 512 bytes in a row. Both are laid out at upload, with
// zeros behind the last column and row (cuda/weight_layout.cc).
//
// A tensor operation multiplies [16 rows, 16 columns] by [16 columns, 8 tokens]. Which of the columns of a
// group of 32 it takes is free as long as both sides agree: lane t of four takes columns 8t .. 8t + 7, the
// first four of them in the first of two operations. So a token's operand is 16 bytes in a row too.

// The formats: numbers in a word of 4 bytes, number i of such a word, and one number of a row by itself.
struct Bf16Format {
  static constexpr uint kStorage = kBf16, kInWord = 2, kTileLoads = 4;
  static constexpr bool kIsScaled = false;
  K2_DEVICE static float OfWord(uint word, uint i) {
    return i == 0 ? Bf16Value(word & 0xffffu) : AsFloat(word & 0xffff0000u);
  }
  // Operands of the two operations of group `group`: rows g and g + 8 of the lane, two pairs of columns.
  K2_DEVICE static void Operands(const Words (&tile)[kTileLoads], uint group, uint (&a)[2][4]) {
    const Words &low = tile[2 * group], &high = tile[2 * group + 1];
    a[0][0] = low.x, a[0][2] = low.y, a[1][0] = low.z, a[1][2] = low.w;
    a[0][1] = high.x, a[0][3] = high.y, a[1][1] = high.z, a[1][3] = high.w;
  }
};

struct F16Format {
  static constexpr uint kStorage = kF16, kInWord = 2;
  static constexpr bool kIsScaled = false;
  K2_DEVICE static float OfWord(uint word, uint i) { return F16Value(word >> 16 * i & 0xffffu); }
};

struct F32Format {
  static constexpr uint kStorage = kF32, kInWord = 1;
  static constexpr bool kIsScaled = false;
  K2_DEVICE static float OfWord(uint word, uint) { return AsFloat(word); }
};

struct F8Format {
  static constexpr uint kStorage = kF8E4m3, kInWord = 4, kTileLoads = 2;
  static constexpr bool kIsScaled = true;
  K2_DEVICE static float OfWord(uint word, uint i) { return E4m3Value(word >> 8 * i & 0xffu); }

  // Two numbers as BF16, exactly: their exponent and mantissa in its places are 2^-120 of them.
  K2_DEVICE static uint Pair(uint bits) {
    const uint apart = (bits & 0xffu) | (bits & 0xff00u) << 8;
    const uint small = (apart & 0x800080u) << 8 | (apart & 0x7f007fu) << 4;
    const uint is_nan = (((apart & 0x7f007fu) + 0x10001u) & 0x800080u) >> 7;  // 1 in the half of a NaN
    return FmaBf16Pair(small, 0x7b807b80u, 0u) | is_nan * 0x7fc0u;
  }
  K2_DEVICE static void Operands(const Words (&tile)[kTileLoads], uint group, uint (&a)[2][4]) {
    const Words& words = tile[group];
    a[0][0] = Pair(words.x), a[0][2] = Pair(words.x >> 16), a[1][0] = Pair(words.y),
    a[1][2] = Pair(words.y >> 16);
    a[0][1] = Pair(words.z), a[0][3] = Pair(words.z >> 16), a[1][1] = Pair(words.w),
    a[1][3] = Pair(words.w >> 16);
  }
};

struct Int4Format {
  static constexpr uint kStorage = kInt4, kInWord = 8, kTileLoads = 1;
  static constexpr bool kIsScaled = true;
  K2_DEVICE static float OfWord(uint word, uint i) { return float(int(word >> 4 * i & 0xfu) - 8); }

  // In a word of a tile, columns 2j and 2j + 1 are the nibbles j and j + 4: one mask makes a pair 128 + n.
  K2_DEVICE static uint Pair(uint word, uint j) {
    const uint biased = (word >> 4 * j & 0x000f000fu) | 0x43004300u;
    return FmaBf16Pair(biased, 0x3f803f80u, 0xc308c308u);  // minus 136, exactly
  }
  K2_DEVICE static void Operands(const Words (&tile)[kTileLoads], uint group, uint (&a)[2][4]) {
    const uint low = group == 0 ? tile[0].x : tile[0].z, high = group == 0 ? tile[0].y : tile[0].w;
    for (uint s = 0; s < 2; ++s) {
      a[s][0] = Pair(low, 2 * s);
      a[s][1] = Pair(high, 2 * s);
      a[s][2] = Pair(low, 2 * s + 1);
      a[s][3] = Pair(high, 2 * s + 1);
    }
  }
};

K2_DEVICE float ScaleAt(const WeightArguments& w, uint row, uint column) {
  return PlainNumber(w.scales, w.scale_storage,
                     ulong(row / w.block_rows) * w.scale_columns + column / w.block_columns);
}

// Numbers [column, column + 4 kInWord) of a row into `values`, zeros behind its end; returns the factor that
// is still to be applied to all of them.
template <typename Format>
K2_DEVICE float LoadChunk(const WeightArguments& w, uint row, uint column, float* values) {
  constexpr uint kChunk = 4 * Format::kInWord;
  const Words words = LoadWords(w.data + ulong(row) * w.row_bytes + column / Format::kInWord * 4);
  const uint each[4] = {words.x, words.y, words.z, words.w};
  K2_UNROLL for (uint i = 0; i < kChunk; ++i) {
    values[i] = Format::OfWord(each[i / Format::kInWord], i % Format::kInWord);
  }
  if (!Format::kIsScaled) return 1.0f;
  if (w.block_columns >= w.columns || w.block_columns % kChunk == 0) return ScaleAt(w, row, column);
  K2_UNROLL for (uint i = 0; i < kChunk; ++i) {
    values[i] *= column + i < w.columns ? ScaleAt(w, row, column + i) : 0.0f;
  }
  return 1.0f;
}

// Makes a kernel template of a format, or of one and a number, known for all formats.
#define K2_KERNELS_OF_FORMATS(name, function, Arguments, threads)  \
  K2_KERNEL(name##_bf16, function<Bf16Format>, Arguments, threads) \
  K2_KERNEL(name##_f16, function<F16Format>, Arguments, threads)   \
  K2_KERNEL(name##_f32, function<F32Format>, Arguments, threads)   \
  K2_KERNEL(name##_fp8, function<F8Format>, Arguments, threads)    \
  K2_KERNEL(name##_int4, function<Int4Format>, Arguments, threads)
#define K2_KERNELS_OF_TOKENS(name, function, Arguments, threads, tokens)              \
  K2_KERNEL(name##_bf16_##tokens, (function<Bf16Format, tokens>), Arguments, threads) \
  K2_KERNEL(name##_f16_##tokens, (function<F16Format, tokens>), Arguments, threads)   \
  K2_KERNEL(name##_f32_##tokens, (function<F32Format, tokens>), Arguments, threads)   \
  K2_KERNEL(name##_fp8_##tokens, (function<F8Format, tokens>), Arguments, threads)    \
  K2_KERNEL(name##_int4_##tokens, (function<Int4Format, tokens>), Arguments, threads)
// The same of those that tensor cores take, with tiles of 8 tokens.
#define K2_KERNELS_OF_TILES(name, function, Arguments, tiles)                               \
  K2_KERNEL(name##_bf16_##tiles, (function<Bf16Format, tiles>), Arguments, kProductThreads) \
  K2_KERNEL(name##_fp8_##tiles, (function<F8Format, tiles>), Arguments, kProductThreads)    \
  K2_KERNEL(name##_int4_##tiles, (function<Int4Format, tiles>), Arguments, kProductThreads)
