// A step of a panel times pairs of tokens with the matrix product of bytes: 2 rows x 8 columns times 8
// columns x 2 tokens in one instruction; part of linear_planes.inl.h. Sums of integers are exact, so the bits
// are those of the dot product.

// Adds 16 rows times tokens 2 p and 2 p + 1 for all p, of all planes.
template <int kPlanes, int kTokens>
K2_INLINE void AddStepOfPairs(const float* lines, const PlaneStep<kPlanes>* const* x, int64_t step,
                              U (*sums)[kPlanes]) {
  constexpr int kPairs = kTokens / 2;
  K2_QUARTERS(q) {
    // [two rows, two tokens] of rows 4 q and 4 q + 1, then of the next two.
    int32x4_t products[kPairs][kPlanes][2];
    K2_UNROLL
    for (int p = 0; p < kPairs; ++p) {
      K2_UNROLL
      for (int i = 0; i < kPlanes; ++i) products[p][i][0] = products[p][i][1] = vdupq_n_s32(0);
    }
    // Even columns of two words, then their odd ones.
    K2_UNROLL
    for (int piece = 0; piece < kStepUnits / 2; ++piece) {
      const int first = piece / 2 * 4 + piece % 2;
      const float* const at = lines + first * kBlockRows + 4 * q;
      const float32x4_t a = vld1q_f32(at), b = vld1q_f32(at + 2 * kBlockRows);
      const int8x16_t rows01 = vreinterpretq_s8_f32(vzip1q_f32(a, b));
      const int8x16_t rows23 = vreinterpretq_s8_f32(vzip2q_f32(a, b));
      K2_UNROLL
      for (int p = 0; p < kPairs; ++p) {
        K2_UNROLL
        for (int i = 0; i < kPlanes; ++i) {
          const int8x16_t tokens = vcombine_s8(vld1_s8(x[2 * p][step].planes[i] + 8 * piece),
                                               vld1_s8(x[2 * p + 1][step].planes[i] + 8 * piece));
          products[p][i][0] = vmmlaq_s32(products[p][i][0], rows01, tokens);
          products[p][i][1] = vmmlaq_s32(products[p][i][1], rows23, tokens);
        }
      }
    }
    K2_UNROLL
    for (int p = 0; p < kPairs; ++p) {
      K2_UNROLL
      for (int i = 0; i < kPlanes; ++i) {
        const int32x4_t first = vuzp1q_s32(products[p][i][0], products[p][i][1]);
        const int32x4_t second = vuzp2q_s32(products[p][i][0], products[p][i][1]);
        U *const of_first = &sums[2 * p][i], *const of_second = &sums[2 * p + 1][i];
        of_first->quarter[q] = vaddq_u32(of_first->quarter[q], vreinterpretq_u32_s32(first));
        of_second->quarter[q] = vaddq_u32(of_second->quarter[q], vreinterpretq_u32_s32(second));
      }
    }
  }
}
