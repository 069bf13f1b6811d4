// Products of nibbles and bytes for 16 rows in four NEON registers (linear_planes.inl.h): with the dot
// product where K2_DOTPROD is defined, else in pairs of 16 bits. These take 8 units of a step at most: 8 * 2
// * 15 * 127 = 30480 fits. Nibbles are below 16, so it does not matter that bytes are signed here.

#if defined(K2_DOTPROD) && !defined(K2_PAIR_DOT)
constexpr bool kTwoPlanes = true;
#else
constexpr bool kTwoPlanes = false;
#endif
constexpr int kPlaneSums = 4, kPlaneBlocks = 1;

K2_INLINE U LowNibbles(U word) {
  K2_QUARTERS(q) word.quarter[q] = vandq_u32(word.quarter[q], vdupq_n_u32(0x0f0f0f0f));
  return word;
}
K2_INLINE U HighNibbles(U word) {
  K2_QUARTERS(q) {
    word.quarter[q] = vreinterpretq_u32_u8(vshrq_n_u8(vreinterpretq_u8_u32(word.quarter[q]), 4));
  }
  return word;
}
K2_INLINE U LoadLine(const float* from) {
  U r;
  K2_QUARTERS(q) r.quarter[q] = vreinterpretq_u32_f32(vld1q_f32(from + 4 * q));
  return r;
}
K2_INLINE U NoSum() {
  const uint32x4_t zero = vdupq_n_u32(0);
  return {{zero, zero, zero, zero}};
}
K2_INLINE U StartSum(const int32_t* start) {
#if defined(K2_DOTPROD)
  const uint32x4_t all = vdupq_n_u32(static_cast<uint32_t>(*start));
  return {{all, all, all, all}};
#else
  (void)start;
  return NoSum();
#endif
}

K2_INLINE U DotBytes(U sum, U line, const int8_t* x) {
  int32_t four;
  __builtin_memcpy(&four, x, 4);
  const int8x16_t all = vreinterpretq_s8_s32(vdupq_n_s32(four));
  K2_QUARTERS(q) {
    const int8x16_t nibbles = vreinterpretq_s8_u32(line.quarter[q]);
#if defined(K2_DOTPROD)
    const int32x4_t old = vreinterpretq_s32_u32(sum.quarter[q]);
    sum.quarter[q] = vreinterpretq_u32_s32(vdotq_s32(old, nibbles, all));
#else
    const int16x8_t low = vmull_s8(vget_low_s8(nibbles), vget_low_s8(all));
    const int16x8_t high = vmull_high_s8(nibbles, all);
    const int16x8_t old = vreinterpretq_s16_u32(sum.quarter[q]);
    sum.quarter[q] = vreinterpretq_u32_s16(vaddq_s16(old, vpaddq_s16(low, high)));
#endif
  }
  return sum;
}

K2_INLINE U TotalOf(U sum, const int32_t* start) {
#if defined(K2_DOTPROD)
  (void)start;
#else
  const int32x4_t from = vdupq_n_s32(start == nullptr ? 0 : *start);
  K2_QUARTERS(q) {
    const int32x4_t pairs = vpaddlq_s16(vreinterpretq_s16_u32(sum.quarter[q]));
    sum.quarter[q] = vreinterpretq_u32_s32(vaddq_s32(pairs, from));
  }
#endif
  return sum;
}

K2_INLINE U AddTimes128(U low, U high) {
  K2_QUARTERS(q) low.quarter[q] = vaddq_u32(low.quarter[q], vshlq_n_u32(high.quarter[q], 7));
  return low;
}
K2_INLINE F ToFloats(U sum) {
  F r;
  K2_QUARTERS(q) r.quarter[q] = vcvtq_f32_s32(vreinterpretq_s32_u32(sum.quarter[q]));
  return r;
}
K2_INLINE F TimesBroadcast(F a, const float* x) {
  K2_QUARTERS(q) a.quarter[q] = vmulq_n_f32(a.quarter[q], *x);
  return a;
}
