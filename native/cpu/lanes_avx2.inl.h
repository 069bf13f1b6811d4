// 16 rows in two AVX2 registers; included inside a region of "avx2" or "avx2-vnni".

struct F {
  __m256 low, high;
};
struct U {
  __m256i low, high;
};

constexpr int kWords = 8;
constexpr int kSideBySideSteps = 2;

K2_INLINE F Zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
K2_INLINE F Load(const float* from) { return {_mm256_loadu_ps(from), _mm256_loadu_ps(from + 8)}; }
K2_INLINE void Store(float* to, F value) {
  _mm256_storeu_ps(to, value.low);
  _mm256_storeu_ps(to + 8, value.high);
}
K2_INLINE F AsFloats(U word) { return {_mm256_castsi256_ps(word.low), _mm256_castsi256_ps(word.high)}; }
K2_INLINE F Fma(F a, F b, F c) {
  return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}

K2_INLINE F FmaBroadcast(F line, const uint8_t* x, F sum) {
  float value;
  __builtin_memcpy(&value, x, 4);
  const __m256 all = _mm256_set1_ps(value);
  return {_mm256_fmadd_ps(line.low, all, sum.low), _mm256_fmadd_ps(line.high, all, sum.high)};
}

// An 8 x 8 matrix of words, one row per register, mirrored at its diagonal.
K2_INLINE void Transpose8(const uint8_t* const* rows, int64_t offset, __m256i* out) {
  __m256i a[8], b[8];
  K2_UNROLL
  for (int i = 0; i < 8; ++i) a[i] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(rows[i] + offset));
  K2_UNROLL
  for (int i = 0; i < 8; i += 2) {
    b[i] = _mm256_unpacklo_epi32(a[i], a[i + 1]);
    b[i + 1] = _mm256_unpackhi_epi32(a[i], a[i + 1]);
  }
  K2_UNROLL
  for (int i = 0; i < 8; i += 4) {
    a[i] = _mm256_unpacklo_epi64(b[i], b[i + 2]);
    a[i + 1] = _mm256_unpackhi_epi64(b[i], b[i + 2]);
    a[i + 2] = _mm256_unpacklo_epi64(b[i + 1], b[i + 3]);
    a[i + 3] = _mm256_unpackhi_epi64(b[i + 1], b[i + 3]);
  }
  K2_UNROLL
  for (int i = 0; i < 4; ++i) {
    out[i] = _mm256_permute2x128_si256(a[i], a[4 + i], 0x20);
    out[4 + i] = _mm256_permute2x128_si256(a[i], a[4 + i], 0x31);
  }
}

K2_INLINE void LoadTransposed(const uint8_t* const* rows, int64_t offset, U* out) {
  __m256i low[8], high[8];
  Transpose8(rows, offset, low);
  Transpose8(rows + 8, offset, high);
  K2_UNROLL
  for (int i = 0; i < 8; ++i) out[i] = {low[i], high[i]};
}

// Flipping the top bit of a nibble makes it two's complement; shifts up and down then extend its sign.
K2_INLINE __m256 DecodeInt4(__m256i word, int i) {
  const __m256i flipped = _mm256_xor_si256(word, _mm256_set1_epi32(static_cast<int>(0x88888888u)));
  return _mm256_cvtepi32_ps(_mm256_srai_epi32(_mm256_slli_epi32(flipped, 28 - 4 * i), 28));
}

// The bits of exponent and mantissa, moved to their place in an f32, are the value times 2^-120, subnormals
// too.
K2_INLINE __m256 DecodeF8(__m256i word, int i) {
  const __m256i byte = _mm256_srli_epi32(word, 8 * i);
  const __m256i magnitude = _mm256_and_si256(byte, _mm256_set1_epi32(0x7f));
  const __m256i sign =
      _mm256_and_si256(_mm256_slli_epi32(byte, 24), _mm256_set1_epi32(static_cast<int>(0x80000000u)));
  const __m256 scaled =
      _mm256_mul_ps(_mm256_castsi256_ps(_mm256_slli_epi32(magnitude, 20)), _mm256_set1_ps(0x1p120f));
  const __m256i nan =
      _mm256_and_si256(_mm256_cmpeq_epi32(magnitude, _mm256_set1_epi32(0x7f)), _mm256_set1_epi32(0x7fc00000));
  return _mm256_or_ps(scaled, _mm256_castsi256_ps(_mm256_or_si256(nan, sign)));
}

K2_INLINE __m256 DecodeBf16(__m256i word, int i) {
  return _mm256_castsi256_ps(i == 0
                                 ? _mm256_slli_epi32(word, 16)
                                 : _mm256_and_si256(word, _mm256_set1_epi32(static_cast<int>(0xffff0000u))));
}

K2_INLINE __m256 DecodeF16(__m256i word, int i) {
  const __m256i halves =
      i == 0 ? _mm256_and_si256(word, _mm256_set1_epi32(0xffff)) : _mm256_srli_epi32(word, 16);
  const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(halves, halves), 0x08);
  return _mm256_cvtph_ps(_mm256_castsi256_si128(packed));
}

K2_INLINE F DecodeInt4(U word, int i) { return {DecodeInt4(word.low, i), DecodeInt4(word.high, i)}; }
K2_INLINE F DecodeF8(U word, int i) { return {DecodeF8(word.low, i), DecodeF8(word.high, i)}; }
K2_INLINE F DecodeBf16(U word, int i) { return {DecodeBf16(word.low, i), DecodeBf16(word.high, i)}; }
K2_INLINE F DecodeF16(U word, int i) { return {DecodeF16(word.low, i), DecodeF16(word.high, i)}; }

// Nearest bf16, ties to even, as f32; NaN stays NaN.
K2_INLINE __m256 RoundHalf(__m256 value) {
  const __m256i bits = _mm256_castps_si256(value);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
  const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
  const __m256 nan = _mm256_cmp_ps(value, value, _CMP_UNORD_Q);
  const __m256 either = _mm256_blendv_ps(_mm256_castsi256_ps(rounded), _mm256_castsi256_ps(quiet), nan);
  return _mm256_and_ps(either, _mm256_castsi256_ps(_mm256_set1_epi32(static_cast<int>(0xffff0000u))));
}

K2_INLINE F RoundToBf16(F value) { return {RoundHalf(value.low), RoundHalf(value.high)}; }
