// Floats to planes of integers (activation_planes.h); part of linear_pack.inl.h. Vectors are the compiler's:
// each operation on 16 lanes is correctly rounded IEEE arithmetic, so every set packs the same bits.

typedef float FloatLanes __attribute__((vector_size(64)));
typedef int32_t IntLanes __attribute__((vector_size(64)));
typedef int64_t PairLanes __attribute__((vector_size(64)));
typedef int8_t ByteLanes __attribute__((vector_size(8)));

// The low bytes of 16 numbers, those of even columns first.
K2_INLINE void StoreCodes(const IntLanes& codes, int8_t* out) {
  const PairLanes pairs = (PairLanes)codes;
  const ByteLanes even = __builtin_convertvector(pairs, ByteLanes);
  const ByteLanes odd = __builtin_convertvector(pairs >> 32, ByteLanes);
  __builtin_memcpy(out, &even, 8);
  __builtin_memcpy(out + 8, &odd, 8);
}

template <int kPlanes>
K2_INLINE void PackStep(const float* x, PlaneStep<kPlanes>* out) {
  constexpr int32_t kInfinity = 0x7f800000;
  constexpr float kRound = 0x1.8p23f;  // added, it leaves a number rounded to an integer in the last bits
  constexpr int32_t kRoundBits = 0x4b400000;
  FloatLanes values[2];
  __builtin_memcpy(values, x, sizeof values);

  // Magnitudes are ordered as their bits are; a NaN is above infinity.
  const IntLanes first = (IntLanes)values[0] & 0x7fffffff, second = (IntLanes)values[1] & 0x7fffffff;
  const IntLanes larger = first > second;
  const IntLanes magnitudes = (first & larger) | (second & ~larger);
  int32_t largest_bits = 0;
  K2_UNROLL
  for (int i = 0; i < 16; ++i) largest_bits = magnitudes[i] > largest_bits ? magnitudes[i] : largest_bits;
  float largest;
  __builtin_memcpy(&largest, &largest_bits, 4);
  if (largest_bits >= kInfinity || largest < kLeastMagnitude) {
    __builtin_memset(out, 0, sizeof *out);
    out->scale = largest_bits >= kInfinity ? __builtin_nanf("") : 0.0f;
    return;
  }

  const float inverse = static_cast<float>(kLargestCode<kPlanes>) / largest;
  IntLanes sums = {};
  K2_UNROLL
  for (int half = 0; half < 2; ++half) {
    const FloatLanes rounded = values[half] * inverse + kRound;
    const IntLanes codes = (IntLanes)rounded - kRoundBits;
    sums += codes;
    if constexpr (kPlanes == 1) {
      StoreCodes(codes, out->planes[0] + 16 * half);
    } else {
      const IntLanes high = (codes + 64) >> 7;
      StoreCodes(high, out->planes[0] + 16 * half);
      StoreCodes(codes - (high << 7), out->planes[kPlanes - 1] + 16 * half);
    }
  }
  int32_t sum = 0;
  K2_UNROLL
  for (int i = 0; i < 16; ++i) sum += sums[i];
  out->scale = largest / static_cast<float>(kLargestCode<kPlanes>);
  out->start = -8 * sum;
}

// Zeros fill the last step.
template <int kPlanes>
void PackSteps(const float* x, int64_t n, uint8_t* out) {
  PlaneStep<kPlanes>* step = reinterpret_cast<PlaneStep<kPlanes>*>(out);
  for (; n >= kStepColumns; n -= kStepColumns, x += kStepColumns) PackStep<kPlanes>(x, step++);
  if (n == 0) return;
  float padded[kStepColumns] = {};
  __builtin_memcpy(padded, x, static_cast<size_t>(n) * 4);
  PackStep<kPlanes>(padded, step);
}
