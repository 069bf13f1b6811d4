// Where the words of a block's rows are, and their scales; part of linear_body.inl.h.

// Addresses of a block's rows. Those past the last one repeat it: nothing is read outside of the weight, and
// what they yield is not used.
void FindBlockRows(const Weight& w, int64_t first_row, const uint8_t* data, int64_t row_bytes,
                   const uint8_t** rows) {
  for (int i = 0; i < kBlockRows; ++i) {
    const int64_t row = first_row + i < w.rows ? first_row + i : w.rows - 1;
    rows[i] = data + row * row_bytes;
  }
}

// As the checkpoint has them: word i of row r is at rows[r] + 4 i.
struct RowWords {
  static constexpr bool kAreRows = true;
  const uint8_t* rows[kBlockRows];
  const uint8_t* scale_rows[kBlockRows];
  int64_t row_bytes;
};

// Interleaved (interleave.h).
struct BlockWords {
  static constexpr bool kAreRows = false;
  const uint8_t* block;
};

void FindWords(const Weight& w, int64_t first_row, RowWords* words) {
  words->row_bytes = w.row_bytes();
  FindBlockRows(w, first_row, w.data, words->row_bytes, words->rows);
  const int64_t scale_row_bytes = w.scale_columns() * StorageBytes(w.scale_storage);
  FindBlockRows(w, first_row, w.scales, scale_row_bytes, words->scale_rows);
}

void FindWords(const Weight& w, int64_t first_row, BlockWords* words) {
  const int64_t chunks = (w.columns + kChunkColumns - 1) / kChunkColumns;
  words->block = w.data + first_row / kBlockRows * chunks * kChunkBytes;
}

// Word `word` of all 16 rows.
K2_INLINE U LoadWord(const BlockWords& words, int64_t word) {
  constexpr int64_t kChunkWords = kChunkColumns / 8;
  const int64_t offset = word / kChunkWords * kChunkBytes + word % kChunkWords * 4 * kBlockRows;
  return LoadLine(reinterpret_cast<const float*>(words.block + offset));
}

// The scales of step `step`.
K2_INLINE F LoadScales(const BlockWords& words, int64_t step) {
  const uint8_t* const chunk = words.block + step / 2 * kChunkBytes;
  const U both = LoadLine(reinterpret_cast<const float*>(chunk + kChunkWordBytes));
  return step % 2 == 0 ? DecodeBf16(both, 0) : DecodeBf16(both, 1);
}
