// Cached rows as attention multiplies them: in bf16, [R latent | Dr rope key | zeros].

// Addresses of n stored rows from position `start` on.
inline void FindRows(const CacheView& cache, int64_t row_bytes, int64_t start, int64_t n,
                     const uint16_t** rows) {
  for (int64_t s = 0; s < n;) {
    const int64_t page = (start + s) / cache.page_tokens, in_page = (start + s) % cache.page_tokens;
    const uint8_t* first = cache.pages.data()[page] + in_page * row_bytes;
    for (int64_t i = in_page; i < cache.page_tokens && s < n; ++i, ++s) {
      rows[s] = reinterpret_cast<const uint16_t*>(first);
      first += row_bytes;
    }
  }
}

// `out` has zeros behind the key already.
inline void ReadInt8Row(const AttentionSizes& sizes, const uint8_t* row, uint16_t* out) {
  const float* scales = reinterpret_cast<const float*>(row);
  const int8_t* latent = reinterpret_cast<const int8_t*>(row + sizes.latent_offset());
  static_assert(kLatentGroup % kColumnPad == 0);
  int64_t k = 0;
  for (; k + kColumnPad <= sizes.rank; k += kColumnPad)
    StoreScaled(out + k, latent + k, scales[k / kLatentGroup]);
  for (; k < sizes.rank; ++k) out[k] = FloatToBf16(static_cast<float>(latent[k]) * scales[k / kLatentGroup]);
  memcpy(out + sizes.rank, row + sizes.key_offset(), sizeof(uint16_t) * static_cast<size_t>(sizes.rope));
}

// Makes scratch.rows n rows from position `start` on.
inline void ReadRows(const CacheView& cache, const AttentionSizes& sizes, int64_t start, int64_t n,
                     const AttentionScratch& scratch) {
  FindRows(cache, sizes.row_bytes(), start, n, scratch.rows);
  if (sizes.cache_type == CacheType::kBf16) return;
  for (int64_t s = 0; s < n; ++s) {
    uint16_t* out = scratch.read + s * sizes.cache_width();
    ReadInt8Row(sizes, reinterpret_cast<const uint8_t*>(scratch.rows[s]), out);
    scratch.rows[s] = out;
  }
}
