// The sums of 16 registers as the 16 lanes of one; included inside regions of AVX-512.

// Four registers to one: quarter g of the result holds 4 partial sums of the g-th.
inline __m512 SumQuarters(__m512 a, __m512 b, __m512 c, __m512 d) {
  const __m512 ab = _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
  const __m512 cd = _mm512_add_ps(_mm512_shuffle_f32x4(c, d, 0x44), _mm512_shuffle_f32x4(c, d, 0xee));
  return _mm512_add_ps(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xdd));
}

// A transposition of 16 x 16 that adds at each of its four steps: 15 additions for 16 sums.
inline __m512 SumsOf(const __m512* sums) {
  const __m512 q0 = SumQuarters(sums[0], sums[4], sums[8], sums[12]);
  const __m512 q1 = SumQuarters(sums[1], sums[5], sums[9], sums[13]);
  const __m512 q2 = SumQuarters(sums[2], sums[6], sums[10], sums[14]);
  const __m512 q3 = SumQuarters(sums[3], sums[7], sums[11], sums[15]);
  const __m512 q01 = _mm512_add_ps(_mm512_unpacklo_ps(q0, q1), _mm512_unpackhi_ps(q0, q1));
  const __m512 q23 = _mm512_add_ps(_mm512_unpacklo_ps(q2, q3), _mm512_unpackhi_ps(q2, q3));
  return _mm512_add_ps(_mm512_shuffle_ps(q01, q23, 0x44), _mm512_shuffle_ps(q01, q23, 0xee));
}
