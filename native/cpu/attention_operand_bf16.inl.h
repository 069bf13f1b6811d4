// Attention operands for the bf16 dot product of AVX-512: each 32-bit lane multiplies two numbers and adds
// both products. Scores pair neighbouring columns of a row; the value sum pairs a column of two neighbouring
// rows. What each name means: attention_operand_f32.inl.h.

using Operand = uint16_t;
using Operands = __m512i;
constexpr int kOperandLanes = 32;

inline Operands LoadOperands(const Operand* x) { return _mm512_loadu_si512(x); }
inline Operands LoadRow(const uint16_t* row) { return _mm512_loadu_si512(row); }
inline Floats Dot(Operands a, Operands b, Floats sum) {
  return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
}

inline void ToOperands(const float* x, int64_t n, Operand* out) {
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) StoreBf16x8(out + i, x + i);
  for (; i < n; ++i) out[i] = FloatToBf16(x[i]);
}

inline void StoreScaled(uint16_t* y, const int8_t* x, float scale) {
  const Floats low = Multiply(LoadInt8(x), Fill(scale)), high = Multiply(LoadInt8(x + 16), Fill(scale));
  _mm512_storeu_si512(y, (__m512i)_mm512_cvtne2ps_pbh(high, low));
}

using Share = uint32_t;  // of two positions, the earlier one in the low half
constexpr int kShareRows = 2;

inline Floats StoreShares(Share* out, int64_t flat, Floats x) {
  const __m256i rounded = (__m256i)_mm512_cvtneps_pbh(x);  // 8 queries of one position, then of the next
  const __m128i first = _mm256_castsi256_si128(rounded), second = _mm256_extracti128_si256(rounded, 1);
  const __m256i pairs =
      _mm256_set_m128i(_mm_unpackhi_epi16(first, second), _mm_unpacklo_epi16(first, second));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + flat / 2), pairs);
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(rounded), 16));
}
inline Operands BroadcastShare(const Share* x) { return _mm512_set1_epi32(static_cast<int32_t>(*x)); }

// Interleaving two rows within quarters of the register is one instruction per vector; it leaves the columns
// in the order 0-3, 8-11, 16-19, 24-27 and 4-7, 12-15, ..., which LoadSums and StoreSums undo once per block.
inline void LoadColumns(const uint16_t* const* rows, int64_t column, Operands* out) {
  const __m512i first = _mm512_loadu_si512(rows[0] + column), second = _mm512_loadu_si512(rows[1] + column);
  out[0] = _mm512_unpacklo_epi16(first, second);
  out[1] = _mm512_unpackhi_epi16(first, second);
}
inline void LoadSums(const float* x, Floats* out) {
  const __m512i even = _mm512_setr_epi32(0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27);
  const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(4));
  const Floats a = Load(x), b = Load(x + 16);
  out[0] = _mm512_permutex2var_ps(a, even, b);
  out[1] = _mm512_permutex2var_ps(a, odd, b);
}
inline void StoreSums(float* x, const Floats* sums) {
  const __m512i low = _mm512_setr_epi32(0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
  const __m512i high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
  Store(x, _mm512_permutex2var_ps(sums[0], low, sums[1]));
  Store(x + 16, _mm512_permutex2var_ps(sums[0], high, sums[1]));
}
