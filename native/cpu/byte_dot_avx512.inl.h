// Products of nibbles and bytes for 16 rows in one AVX-512 register (linear_planes.inl.h): with the dot
// product where K2_VNNI is defined, else in pairs of 16 bits. These take 8 units of a step at most:
// 8 * 2 * 15 * 127 = 30480 fits. So two planes, which cost twice that, gain nothing over products in f32.

#if defined(K2_VNNI)
constexpr bool kTwoPlanes = true;
#else
constexpr bool kTwoPlanes = false;
#endif
constexpr int kPlaneSums = 16, kPlaneBlocks = 2;

K2_INLINE U LowNibbles(U word) { return _mm512_and_si512(word, _mm512_set1_epi8(0x0f)); }
K2_INLINE U HighNibbles(U word) { return LowNibbles(_mm512_srli_epi16(word, 4)); }
K2_INLINE U LoadLine(const float* from) { return _mm512_loadu_si512(from); }
K2_INLINE U NoSum() { return _mm512_setzero_si512(); }

#if defined(K2_VNNI)
K2_INLINE U StartSum(const int32_t* start) { return _mm512_set1_epi32(*start); }
K2_INLINE U DotBytes(U sum, U line, const int8_t* x) {
  int32_t four;
  __builtin_memcpy(&four, x, 4);
  return _mm512_dpbusd_epi32(sum, line, _mm512_set1_epi32(four));
}
K2_INLINE U TotalOf(U sum, const int32_t*) { return sum; }
#else
K2_INLINE U StartSum(const int32_t*) { return NoSum(); }
K2_INLINE U DotBytes(U sum, U line, const int8_t* x) {
  int32_t four;
  __builtin_memcpy(&four, x, 4);
  return _mm512_add_epi16(sum, _mm512_maddubs_epi16(line, _mm512_set1_epi32(four)));
}
K2_INLINE U TotalOf(U sum, const int32_t* start) {
  return _mm512_add_epi32(_mm512_madd_epi16(sum, _mm512_set1_epi16(1)),
                          _mm512_set1_epi32(start == nullptr ? 0 : *start));
}
#endif

K2_INLINE U AddTimes128(U low, U high) { return _mm512_add_epi32(low, _mm512_slli_epi32(high, 7)); }
K2_INLINE F ToFloats(U sum) { return _mm512_cvtepi32_ps(sum); }
K2_INLINE F TimesBroadcast(F a, const float* x) { return _mm512_mul_ps(a, _mm512_set1_ps(*x)); }
