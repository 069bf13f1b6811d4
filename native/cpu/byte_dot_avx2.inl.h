// Products of nibbles and bytes for 16 rows in two AVX2 registers (linear_planes.inl.h): with the dot product
// where K2_VNNI is defined, else in pairs of 16 bits. These take 8 units of a step at most:
// 8 * 2 * 15 * 127 = 30480 fits. So two planes, which cost twice that, gain nothing over products in f32.

#if defined(K2_VNNI)
constexpr bool kTwoPlanes = true;
#else
constexpr bool kTwoPlanes = false;
#endif
constexpr int kPlaneSums = 6, kPlaneBlocks = 1;

K2_INLINE U LowNibbles(U word) {
  const __m256i mask = _mm256_set1_epi8(0x0f);
  return {_mm256_and_si256(word.low, mask), _mm256_and_si256(word.high, mask)};
}
K2_INLINE U HighNibbles(U word) {
  return LowNibbles({_mm256_srli_epi16(word.low, 4), _mm256_srli_epi16(word.high, 4)});
}
K2_INLINE U LoadLine(const float* from) {
  return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)),
          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + 8))};
}
K2_INLINE U NoSum() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }

#if defined(K2_VNNI)
K2_INLINE U StartSum(const int32_t* start) { return {_mm256_set1_epi32(*start), _mm256_set1_epi32(*start)}; }
K2_INLINE U DotBytes(U sum, U line, const int8_t* x) {
  int32_t four;
  __builtin_memcpy(&four, x, 4);
  const __m256i all = _mm256_set1_epi32(four);
  return {_mm256_dpbusd_avx_epi32(sum.low, line.low, all), _mm256_dpbusd_avx_epi32(sum.high, line.high, all)};
}
K2_INLINE U TotalOf(U sum, const int32_t*) { return sum; }
#else
K2_INLINE U StartSum(const int32_t*) { return NoSum(); }
K2_INLINE U DotBytes(U sum, U line, const int8_t* x) {
  int32_t four;
  __builtin_memcpy(&four, x, 4);
  const __m256i all = _mm256_set1_epi32(four);
  return {_mm256_add_epi16(sum.low, _mm256_maddubs_epi16(line.low, all)),
          _mm256_add_epi16(sum.high, _mm256_maddubs_epi16(line.high, all))};
}
K2_INLINE U TotalOf(U sum, const int32_t* start) {
  const __m256i ones = _mm256_set1_epi16(1), from = _mm256_set1_epi32(start == nullptr ? 0 : *start);
  return {_mm256_add_epi32(_mm256_madd_epi16(sum.low, ones), from),
          _mm256_add_epi32(_mm256_madd_epi16(sum.high, ones), from)};
}
#endif

K2_INLINE U AddTimes128(U low, U high) {
  return {_mm256_add_epi32(low.low, _mm256_slli_epi32(high.low, 7)),
          _mm256_add_epi32(low.high, _mm256_slli_epi32(high.high, 7))};
}
K2_INLINE F ToFloats(U sum) { return {_mm256_cvtepi32_ps(sum.low), _mm256_cvtepi32_ps(sum.high)}; }
K2_INLINE F TimesBroadcast(F a, const float* x) {
  const __m256 all = _mm256_set1_ps(*x);
  return {_mm256_mul_ps(a.low, all), _mm256_mul_ps(a.high, all)};
}
