// Linear kernels with the AVX-512 bf16 dot product: two exact products per lane and instruction, summed in
// f32. The instruction takes subnormal inputs as zero: weights and activations below 1.2e-38 count as
// nothing. Every processor that has it has the byte dot product too.
#if defined(__x86_64__)
#include <immintrin.h>

#include "cpu/linear_region.h"

#define K2_PAIR_DOT
#define K2_ROWS_BF16
#define K2_VNNI
#define K2_TILE_TOKENS 8

K2_REGION_BEGIN("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16")

namespace k2 {
namespace avx512_bf16 {
namespace {

#include "cpu/lanes_avx512.inl.h"

#include "cpu/byte_dot_avx512.inl.h"

#include "cpu/sum_each_avx512.inl.h"

K2_INLINE F PairDotBroadcast(F line, const uint8_t* x, F sum) {
  int32_t pair;
  __builtin_memcpy(&pair, x, 4);
  return _mm512_dpbf16_ps(sum, (__m512bh)_mm512_castps_si512(line), (__m512bh)_mm512_set1_epi32(pair));
}

// The table look-up takes the low 5 bits of a half lane as index; the table is there twice, so the fifth bit,
// which belongs to the next nibble, does not matter. Values are exact: no offset has to be taken back
// afterwards.
K2_INLINE F DecodeInt4Pairs(U word, int i) {
  alignas(64) static constexpr uint16_t kValues[32] = {
      0xc100, 0xc0e0, 0xc0c0, 0xc0a0, 0xc080, 0xc040, 0xc000, 0xbf80, 0x0000, 0x3f80, 0x4000,
      0x4040, 0x4080, 0x40a0, 0x40c0, 0x40e0, 0xc100, 0xc0e0, 0xc0c0, 0xc0a0, 0xc080, 0xc040,
      0xc000, 0xbf80, 0x0000, 0x3f80, 0x4000, 0x4040, 0x4080, 0x40a0, 0x40c0, 0x40e0};
  const U index = _mm512_srli_epi32(word, static_cast<unsigned>(4 * i));
  return AsFloats(_mm512_permutexvar_epi16(index, _mm512_load_si512(kValues)));
}

// Every e4m3 number is exact in bf16. Normal ones: exponent and mantissa move up 4 bits and the bias grows by
// 120. The 8 subnormals (below 0 after the subtraction, hence large as unsigned) and NaN (0x770) come from a
// table.
K2_INLINE F DecodeF8Pairs(U word, int i) {
  alignas(64) static constexpr uint16_t kSpecial[32] = {
      0x0000, 0x3b00, 0x3b80, 0x3bc0, 0x3c00, 0x3c20, 0x3c40, 0x3c60, 0, 0, 0, 0, 0, 0, 0, 0,
      0,      0,      0,      0,      0,      0,      0,      0,      0, 0, 0, 0, 0, 0, 0, 0x7fc0};
  // Each of two bytes twice: once for its magnitude, once for its sign.
  const __m128i low = _mm_setr_epi8(0, 0, 1, 1, 4, 4, 5, 5, 8, 8, 9, 9, 12, 12, 13, 13);
  const __m128i high = _mm_setr_epi8(2, 2, 3, 3, 6, 6, 7, 7, 10, 10, 11, 11, 14, 14, 15, 15);
  const U bytes = _mm512_shuffle_epi8(word, _mm512_broadcast_i32x4(i == 0 ? low : high));
  const U moved = _mm512_sub_epi16(_mm512_and_si512(_mm512_slli_epi16(bytes, 4), _mm512_set1_epi16(0x7f0)),
                                   _mm512_set1_epi16(0x80));
  const __mmask32 special = _mm512_cmpge_epu16_mask(moved, _mm512_set1_epi16(0x770));
  const U magnitude = _mm512_mask_permutexvar_epi16(_mm512_add_epi16(moved, _mm512_set1_epi16(0x3c80)),
                                                    special, bytes, _mm512_load_si512(kSpecial));
  constexpr int kFirstOrSecondAndThird = 0xf8;
  return AsFloats(_mm512_ternarylogic_epi32(magnitude, bytes, _mm512_set1_epi16(static_cast<int16_t>(0x8000)),
                                            kFirstOrSecondAndThird));
}

K2_INLINE void StorePairs(F x, bool nibble_order, uint8_t* out) {
  const __m256i order =
      nibble_order
          ? _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15))
          : _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
  const __m256i pairs = (__m256i)_mm512_cvtneps_pbh(x);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm256_shuffle_epi8(pairs, order));
}

#include "cpu/linear_body.inl.h"
#include "cpu/linear_pack.inl.h"

}  // namespace

K2_LINEAR_KERNELS(kLinearKernels, Isa::kAvx512Bf16, false)
K2_LINEAR_KERNELS(kVnniKernels, Isa::kAvx512Bf16Vnni, true)

}  // namespace avx512_bf16
}  // namespace k2

K2_REGION_END

#endif
