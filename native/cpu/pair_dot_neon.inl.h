// The bf16 dot product for 16 rows in four NEON registers.

K2_INLINE F PairDotBroadcast(F line, const uint8_t* x, F sum) {
  uint32_t pair;
  __builtin_memcpy(&pair, x, 4);
  const bfloat16x8_t all = vreinterpretq_bf16_u32(vdupq_n_u32(pair));
  K2_QUARTERS(q) {
    sum.quarter[q] = vbfdotq_f32(sum.quarter[q], vreinterpretq_bf16_f32(line.quarter[q]), all);
  }
  return sum;
}

// Two numbers that are exact in bf16, the second in the high half.
K2_INLINE F PairOf(F first, F second) {
  K2_QUARTERS(q) {
    const uint32x4_t low = vreinterpretq_u32_f32(first.quarter[q]);
    const uint32x4_t high = vreinterpretq_u32_f32(second.quarter[q]);
    second.quarter[q] = vreinterpretq_f32_u32(vsriq_n_u32(high, low, 16));
  }
  return second;
}
K2_INLINE F DecodeInt4Pairs(U word, int i) { return PairOf(DecodeInt4(word, i), DecodeInt4(word, i + 4)); }
K2_INLINE F DecodeF8Pairs(U word, int i) { return PairOf(DecodeF8(word, 2 * i), DecodeF8(word, 2 * i + 1)); }

K2_INLINE void StorePairs(F x, bool nibble_order, uint8_t* out) {
  const F rounded = RoundToBf16(x);
  uint16x4_t halves[kQuarters];
  K2_QUARTERS(q) halves[q] = vshrn_n_u32(vreinterpretq_u32_f32(rounded.quarter[q]), 16);
  K2_UNROLL
  for (int q = 0; q < kQuarters; q += 2) {
    const uint16x4_t first = nibble_order ? vzip1_u16(halves[q], halves[q + 1]) : halves[q];
    const uint16x4_t second = nibble_order ? vzip2_u16(halves[q], halves[q + 1]) : halves[q + 1];
    vst1_u8(out + 8 * q, vreinterpret_u8_u16(first));
    vst1_u8(out + 8 * q + 8, vreinterpret_u8_u16(second));
  }
}
