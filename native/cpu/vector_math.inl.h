// What every ISA builds in the same way from its vectors_<isa>.inl.h: exp, and weights decoded to floats.

// As k2::Exp (base/fast_math.h). NaN stays NaN.
inline Floats ExpOf(Floats x) {
  using namespace exp_constants;
  x = Maximum(Fill(kLowest), Minimum(Fill(kHighest), x));
  const Floats n = Round(Multiply(x, Fill(kLog2E)));
  const Floats r = MultiplyAdd(n, Fill(-kLn2Low), MultiplyAdd(n, Fill(-kLn2High), x));
  Floats p = Fill(kPolynomial[0]);
#pragma GCC unroll 5
  for (int i = 1; i < 6; ++i) p = MultiplyAdd(p, r, Fill(kPolynomial[i]));
  p = Add(MultiplyAdd(p, Multiply(r, r), r), Fill(1.0f));
  return TimesPowerOfTwo(p, n);
}

// Row i of `w` as floats, then zeros up to `padded` columns (a multiple of kLanes, at least w.columns). Reads
// no byte outside of the row.
inline void DecodePadded(const Weight& w, int64_t i, int64_t padded, float* out) {
  const int64_t whole = w.columns / kLanes * kLanes;
  const uint8_t* row = w.data + i * w.row_bytes();
  if (w.storage == Storage::kBf16) {
    for (int64_t k = 0; k < whole; k += kLanes) Store(out + k, LoadBf16(row + 2 * k));
    for (int64_t k = whole; k < w.columns; ++k) out[k] = LoadAsFloat(row, Storage::kBf16, k);
  } else if (w.storage == Storage::kF8E4m3 && w.block_columns % kLanes == 0) {
    const int64_t first_scale = i / w.block_rows * w.scale_columns();
    for (int64_t k = 0; k < w.columns; k += w.block_columns) {
      const float scale = LoadAsFloat(w.scales, w.scale_storage, first_scale + k / w.block_columns);
      const int64_t end = k + w.block_columns < whole ? k + w.block_columns : whole;
      for (int64_t j = k; j < end; j += kLanes) Store(out + j, Multiply(LoadE4m3(row + j), Fill(scale)));
      if (k + w.block_columns <= whole) continue;
      for (int64_t j = whole; j < w.columns; ++j) out[j] = E4m3ToFloat(row[j]) * scale;
    }
  } else {
    DecodeRow(w, i, out);
  }
  for (int64_t k = w.columns; k < padded; ++k) out[k] = 0;
}
