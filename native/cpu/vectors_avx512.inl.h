// 16 floats in a 512-bit register; AVX-512 F, BW, DQ, VL. What each name means: vectors_scalar.inl.h.

#include "cpu/sum_each_avx512.inl.h"

using Floats = __m512;
constexpr int kLanes = 16;
constexpr int kScoreRows = 2;
constexpr int kColumnVectors = 2;

inline Floats Fill(float x) { return _mm512_set1_ps(x); }
inline Floats Load(const float* x) { return _mm512_loadu_ps(x); }
inline void Store(float* y, Floats x) { _mm512_storeu_ps(y, x); }
inline Floats Add(Floats a, Floats b) { return _mm512_add_ps(a, b); }
inline Floats Subtract(Floats a, Floats b) { return _mm512_sub_ps(a, b); }
inline Floats Multiply(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
inline Floats Divide(Floats a, Floats b) { return _mm512_div_ps(a, b); }
inline Floats Minimum(Floats a, Floats b) { return _mm512_min_ps(a, b); }
inline Floats Maximum(Floats a, Floats b) { return _mm512_max_ps(a, b); }
inline Floats MultiplyAdd(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
inline Floats Round(Floats x) {
  return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
inline Floats TimesPowerOfTwo(Floats x, Floats n) { return _mm512_scalef_ps(x, n); }

inline float Sum(Floats x) {
  const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

inline Floats LoadBf16(const void* x) {
  const __m256i bits = _mm256_loadu_si256(static_cast<const __m256i*>(x));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
}

// Exponent and mantissa moved to their places in a float are the number times 2^-120, subnormals included.
inline Floats LoadE4m3(const uint8_t* x) {
  const __m512i byte = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(x)));
  const __m512i magnitude = _mm512_and_si512(byte, _mm512_set1_epi32(0x7f));
  const __m512i sign = _mm512_slli_epi32(_mm512_and_si512(byte, _mm512_set1_epi32(0x80)), 24);
  const Floats scaled =
      _mm512_mul_ps(_mm512_castsi512_ps(_mm512_slli_epi32(magnitude, 20)), _mm512_set1_ps(0x1p120f));
  const __mmask16 nan = _mm512_cmpeq_epi32_mask(magnitude, _mm512_set1_epi32(0x7f));
  const __m512i bits = _mm512_mask_set1_epi32(_mm512_castps_si512(scaled), nan, 0x7fc00000);
  return _mm512_castsi512_ps(_mm512_or_si512(bits, sign));
}

inline Floats LoadInt8(const int8_t* x) {
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(x))));
}

inline void StoreBf16x8(uint16_t* y, const float* x) {
  const __m256 value = _mm256_loadu_ps(x);
  const __m256i bits = _mm256_castps_si256(value), high = _mm256_srli_epi32(bits, 16);
  const __m256i odd = _mm256_and_si256(high, _mm256_set1_epi32(1));
  const __m256i rounded =
      _mm256_srli_epi32(_mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd), 16);
  const __mmask8 nan = _mm256_cmp_ps_mask(value, value, _CMP_UNORD_Q);
  const __m256i result = _mm256_mask_or_epi32(rounded, nan, high, _mm256_set1_epi32(0x40));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(y), _mm256_cvtepi32_epi16(result));
}

inline void SumEach(const Floats* sums, float* out) { Store(out, SumsOf(sums)); }
