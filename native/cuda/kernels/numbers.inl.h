// Numbers: the formats of checkpoints as bits, and exp. Every product that is added is a written fma, so that
// no compiler decides about rounding.

constexpr float kMinusInfinity = -__builtin_huge_valf();

enum StorageKind : uint { kBf16 = 0, kF16 = 1, kF32 = 2, kF8E4m3 = 3, kInt4 = 4 };

K2_DEVICE float Bf16Value(uint bits) { return AsFloat(bits << 16); }

// Exponent and mantissa in the places of a float are 2^-120 of the number.
K2_DEVICE float E4m3Value(uint bits) {
  const uint sign = (bits & 0x80u) << 24, magnitude = bits & 0x7fu;
  const float value = AsFloat(magnitude << 20) * AsFloat(0x7b800000u);
  return AsFloat(sign | (magnitude == 0x7fu ? 0x7fc00000u : AsUint(value)));
}

// To nearest, ties to even; NaN stays NaN.
K2_DEVICE ushort RoundToBf16(float value) {
  const uint bits = AsUint(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return ushort(bits >> 16 | 0x40u);
  return ushort((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

// Number `index` of a plain array, which lies at a multiple of its size.
K2_DEVICE float PlainNumber(WeightBytes data, uint storage, ulong index) {
  if (storage == kF32) return AsFloat(LoadWord(data + index * 4));
  const uint bits = LoadHalf(data + index * 2);
  return storage == kBf16 ? Bf16Value(bits) : F16Value(bits);
}

// As native/base/fast_math.h, with its error (2e-7 of the result): 0 for -infinity, NaN for NaN.
K2_DEVICE float Exp(float x) {
  if (!(x == x)) return x;
  const float bounded = fminf(fmaxf(x, -104.0f), 89.0f);
  const float rounder = 12582912.0f;  // 1.5 * 2^23: adding and subtracting it rounds to the nearest integer
  const float n = fmaf(bounded, 1.44269504088896341f, rounder) - rounder;
  const float r = fmaf(n, 2.12194440e-4f, fmaf(n, -0.693359375f, bounded));
  float p = 1.9875691500e-4f;
  p = fmaf(p, r, 1.3981999507e-3f);
  p = fmaf(p, r, 8.3334519073e-3f);
  p = fmaf(p, r, 4.1665795894e-2f);
  p = fmaf(p, r, 1.6666665459e-1f);
  p = fmaf(p, r, 5.0000001201e-1f);
  p = fmaf(p, r * r, r) + 1.0f;
  // In two steps, since 2^n itself may lie outside of the normal range where the product does not.
  const int whole = int(n), half_way = whole / 2;
  return p * AsFloat(uint(half_way + 127) << 23) * AsFloat(uint(whole - half_way + 127) << 23);
}

K2_DEVICE float Silu(float x) { return x / (1.0f + Exp(-x)); }
