// 16 rows in one AVX-512 register; included inside a region of "avx512" or "avx512-bf16".

using F = __m512;
using U = __m512i;

constexpr int kWords = 16;           // words of each row that one transposition takes: one cache line
constexpr int kSideBySideSteps = 4;  // enough sums in flight for one token

K2_INLINE F Zero() { return _mm512_setzero_ps(); }
K2_INLINE F Load(const float* from) { return _mm512_loadu_ps(from); }
K2_INLINE void Store(float* to, F value) { _mm512_storeu_ps(to, value); }
K2_INLINE F AsFloats(U word) { return _mm512_castsi512_ps(word); }
K2_INLINE F Fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }

K2_INLINE F FmaBroadcast(F line, const uint8_t* x, F sum) {
  float value;
  __builtin_memcpy(&value, x, 4);
  return _mm512_fmadd_ps(line, _mm512_set1_ps(value), sum);
}

// 16 words of 16 rows: word i of all rows becomes out[i]. Four rounds of exchanges of a 16 x 16 matrix.
K2_INLINE void LoadTransposed(const uint8_t* const* rows, int64_t offset, U* out) {
  U a[16], b[16];
  K2_UNROLL
  for (int i = 0; i < 16; ++i) a[i] = _mm512_loadu_si512(rows[i] + offset);
  K2_UNROLL
  for (int i = 0; i < 16; i += 2) {
    b[i] = _mm512_unpacklo_epi32(a[i], a[i + 1]);
    b[i + 1] = _mm512_unpackhi_epi32(a[i], a[i + 1]);
  }
  // a[4j + c]: in its quarter q, word 4q + c of rows 4j .. 4j + 3
  K2_UNROLL
  for (int i = 0; i < 16; i += 4) {
    a[i] = _mm512_unpacklo_epi64(b[i], b[i + 2]);
    a[i + 1] = _mm512_unpackhi_epi64(b[i], b[i + 2]);
    a[i + 2] = _mm512_unpacklo_epi64(b[i + 1], b[i + 3]);
    a[i + 3] = _mm512_unpackhi_epi64(b[i + 1], b[i + 3]);
  }
  K2_UNROLL
  for (int c = 0; c < 4; ++c) {
    const U low01 = _mm512_shuffle_i32x4(a[c], a[4 + c], 0x44),
            high01 = _mm512_shuffle_i32x4(a[c], a[4 + c], 0xee);
    const U low23 = _mm512_shuffle_i32x4(a[8 + c], a[12 + c], 0x44);
    const U high23 = _mm512_shuffle_i32x4(a[8 + c], a[12 + c], 0xee);
    out[c] = _mm512_shuffle_i32x4(low01, low23, 0x88);
    out[4 + c] = _mm512_shuffle_i32x4(low01, low23, 0xdd);
    out[8 + c] = _mm512_shuffle_i32x4(high01, high23, 0x88);
    out[12 + c] = _mm512_shuffle_i32x4(high01, high23, 0xdd);
  }
}

// The table look-up takes the low 4 bits of a lane as index, so a nibble needs a shift and nothing else.
K2_INLINE F DecodeInt4(U word, int i) {
  const F values = _mm512_setr_ps(-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7);
  return _mm512_permutexvar_ps(_mm512_srli_epi32(word, static_cast<unsigned>(4 * i)), values);
}

// The bits of exponent and mantissa, moved to their place in an f32, are the value times 2^-120, subnormals
// too.
K2_INLINE F DecodeF8(U word, int i) {
  const U byte = _mm512_srli_epi32(word, static_cast<unsigned>(8 * i));
  const U magnitude = _mm512_and_si512(byte, _mm512_set1_epi32(0x7f));
  const U sign =
      _mm512_and_si512(_mm512_slli_epi32(byte, 24), _mm512_set1_epi32(static_cast<int>(0x80000000u)));
  const F scaled = _mm512_mul_ps(AsFloats(_mm512_slli_epi32(magnitude, 20)), _mm512_set1_ps(0x1p120f));
  const __mmask16 nan = _mm512_cmpeq_epi32_mask(magnitude, _mm512_set1_epi32(0x7f));
  const U value = _mm512_mask_mov_epi32(_mm512_castps_si512(scaled), nan, _mm512_set1_epi32(0x7fc00000));
  return AsFloats(_mm512_or_si512(value, sign));
}

K2_INLINE F DecodeBf16(U word, int i) {
  return AsFloats(i == 0 ? _mm512_slli_epi32(word, 16)
                         : _mm512_and_si512(word, _mm512_set1_epi32(static_cast<int>(0xffff0000u))));
}

K2_INLINE F DecodeF16(U word, int i) {
  return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_srli_epi32(word, static_cast<unsigned>(16 * i))));
}

// Nearest bf16, ties to even, as f32; NaN stays NaN.
K2_INLINE F RoundToBf16(F value) {
  const U bits = _mm512_castps_si512(value);
  const U odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const U rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
  const U quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x400000));
  const __mmask16 nan = _mm512_cmp_ps_mask(value, value, _CMP_UNORD_Q);
  return _mm512_castsi512_ps(_mm512_and_si512(_mm512_mask_mov_epi32(rounded, nan, quiet),
                                              _mm512_set1_epi32(static_cast<int>(0xffff0000u))));
}
