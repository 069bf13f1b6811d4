// Decoding of stored weights into lines of 16 rows, and of their scales; part of linear_body.inl.h.

// Products in f32.
struct FloatMode {
  static constexpr int kUnitColumns = 1;
  static constexpr int kStepUnits = kStepColumns;
  K2_INLINE F Dot(F sum, F line, const uint8_t* x) { return FmaBroadcast(line, x, sum); }
};

#if defined(K2_PAIR_DOT)
constexpr bool kHasPairDot = true;

// Two bf16 products at once.
struct PairMode {
  static constexpr int kUnitColumns = 2;
  static constexpr int kStepUnits = kStepColumns / 2;
  K2_INLINE F Dot(F sum, F line, const uint8_t* x) { return PairDotBroadcast(line, x, sum); }
};
#else
constexpr bool kHasPairDot = false;
#endif

// Nibbles as bytes, four columns a unit: the even ones of a word, then the odd ones.
struct ByteMode {
  static constexpr int kUnitColumns = 4;
};

constexpr int kScaleSteps = 32;  // steps whose scales are decoded together

template <Storage S>
constexpr int kBits = S == Storage::kInt4     ? 4
                      : S == Storage::kF8E4m3 ? 8
                      : S == Storage::kF32    ? 32
                                              : 16;

// Lines of the panel that 4 bytes of each row fill.
template <class Mode, Storage S>
constexpr int kWordUnits = 32 / kBits<S> / Mode::kUnitColumns;

// What remains to be asked of memory, a share of it with every batch of words.
struct PrefetchCursor {
  PrefetchRange left;
  int64_t data_share, scale_share;  // bytes, whole lines
};

K2_INLINE PrefetchCursor StartPrefetch(const PrefetchRange& next, int64_t batches) {
  return {next, (next.data_bytes / batches + 64) / 64 * 64, (next.scale_bytes / batches + 64) / 64 * 64};
}

K2_INLINE void PrefetchShare(const uint8_t** from, int64_t* bytes, int64_t share) {
  const int64_t now = *bytes < share ? *bytes : share;
  for (int64_t i = 0; i < now; i += 64) __builtin_prefetch(*from + i, 0, 2);
  *from += now;
  *bytes -= now;
}

K2_INLINE void Prefetch(PrefetchCursor* cursor) {
  PrefetchShare(&cursor->left.data, &cursor->left.data_bytes, cursor->data_share);
  PrefetchShare(&cursor->left.scales, &cursor->left.scale_bytes, cursor->scale_share);
}

// Line i of the kWordUnits<Mode, S> that a word of each row decodes to.
template <class Mode, Storage S>
K2_INLINE F DecodeLine(U word, int i) {
  if constexpr (Mode::kUnitColumns == 4) return AsFloats(i == 0 ? LowNibbles(word) : HighNibbles(word));
#if defined(K2_PAIR_DOT)
  if constexpr (Mode::kUnitColumns == 2) {
    if constexpr (S == Storage::kInt4) return DecodeInt4Pairs(word, i);
    if constexpr (S == Storage::kF8E4m3) return DecodeF8Pairs(word, i);
    return AsFloats(word);
  }
#endif
  if constexpr (S == Storage::kInt4) return DecodeInt4(word, i);
  if constexpr (S == Storage::kF8E4m3) return DecodeF8(word, i);
  if constexpr (S == Storage::kBf16) return DecodeBf16(word, i);
  if constexpr (S == Storage::kF16) return DecodeF16(word, i);
  return AsFloats(word);
}

// Decodes `words` words of each row, from byte `offset` on, into the panel; it writes whole batches. A batch
// that would pass the end of its row goes through a copy padded with zeros: a weight may end where its
// mapping ends.
template <class Mode, Storage S>
void UnpackRows(const uint8_t* const* rows, int64_t row_bytes, int64_t offset, int64_t words, float* panel,
                PrefetchCursor* cursor) {
  constexpr int64_t kBatchBytes = 4 * kWords;
  for (; words > 0; words -= kWords, offset += kBatchBytes) {
    U batch[kWords];
    Prefetch(cursor);
    if (offset + kBatchBytes <= row_bytes) {
      LoadTransposed(rows, offset, batch);
    } else {
      alignas(64) uint8_t padded[kBlockRows][kBatchBytes];
      const uint8_t* padded_rows[kBlockRows];
      __builtin_memset(padded, 0, sizeof padded);
      for (int i = 0; i < kBlockRows; ++i) {
        if (offset < row_bytes)
          __builtin_memcpy(padded[i], rows[i] + offset, static_cast<size_t>(row_bytes - offset));
        padded_rows[i] = padded[i];
      }
      LoadTransposed(padded_rows, 0, batch);
    }
    K2_UNROLL
    for (int word = 0; word < kWords; ++word) {
      K2_UNROLL
      for (int i = 0; i < kWordUnits<Mode, S>; ++i, panel += kBlockRows) {
        Store(panel, DecodeLine<Mode, S>(batch[word], i));
      }
    }
  }
}

template <class Mode, Storage S>
void Unpack(const RowWords& from, int64_t offset, int64_t words, float* panel, PrefetchCursor* cursor) {
  UnpackRows<Mode, S>(from.rows, from.row_bytes, offset, words, panel, cursor);
}

template <class Mode, Storage S>
void Unpack(const BlockWords& from, int64_t offset, int64_t words, float* panel, PrefetchCursor* cursor) {
  for (int64_t word = offset / 4; words > 0; ++word, --words) {
    if (word % kWords == 0) Prefetch(cursor);
    const U of_rows = LoadWord(from, word);
    K2_UNROLL
    for (int i = 0; i < kWordUnits<Mode, S>; ++i, panel += kBlockRows) {
      Store(panel, DecodeLine<Mode, S>(of_rows, i));
    }
  }
}

// Scales of `steps` steps from `column` on, [step][16]. INT4: each row has its own, in columns like a small
// weight.
template <Storage S>
void UnpackGroupScales(const Weight& w, const uint8_t* const* rows, int64_t column, int64_t steps,
                       float* scales) {
  const int64_t row_bytes = w.scale_columns() * (kBits<S> / 8);
  const int64_t first = column / w.block_columns;
  const int64_t count = (column + (steps - 1) * kStepColumns) / w.block_columns - first + 1;
  PrefetchCursor none = {};
  UnpackRows<FloatMode, S>(rows, row_bytes, first * (kBits<S> / 8), (count * kBits<S> + 31) / 32, scales,
                           &none);
  if (w.block_columns == kStepColumns) return;
  // Wider groups: spread from the end, where nothing that is still to be read gets overwritten.
  for (int64_t s = steps - 1; s >= 0; --s) {
    const int64_t group = (column + s * kStepColumns) / w.block_columns - first;
    Store(scales + s * kBlockRows, Load(scales + group * kBlockRows));
  }
}

void FillScales(const Weight& w, int64_t first_row, const RowWords& words, int64_t column, int64_t steps,
                float* scales) {
  if (w.storage != Storage::kInt4) return BlockScales(w, first_row, column, steps, scales);
  if (w.scale_storage == Storage::kBf16)
    return UnpackGroupScales<Storage::kBf16>(w, words.scale_rows, column, steps, scales);
  if (w.scale_storage == Storage::kF16)
    return UnpackGroupScales<Storage::kF16>(w, words.scale_rows, column, steps, scales);
  return UnpackGroupScales<Storage::kF32>(w, words.scale_rows, column, steps, scales);
}

void FillScales(const Weight&, int64_t, const BlockWords& words, int64_t column, int64_t steps,
                float* scales) {
  for (int64_t step = column / kStepColumns; steps > 0; ++step, --steps, scales += kBlockRows) {
    Store(scales, LoadScales(words, step));
  }
}
