// Packing of activations; included after the lanes of an ISA.

#include "cpu/linear_pack_planes.inl.h"

// 16 floats in a format.
K2_INLINE void Pack16(ActivationFormat format, const float* x, uint8_t* out) {
  switch (format) {
    case ActivationFormat::kFloat:
      __builtin_memcpy(out, x, 64);
      return;
    case ActivationFormat::kRounded: {
      alignas(64) float rounded[16];
      Store(rounded, RoundToBf16(Load(x)));
      __builtin_memcpy(out, rounded, 64);
      return;
    }
    case ActivationFormat::kPairs:
    case ActivationFormat::kNibblePairs:
#if defined(K2_PAIR_DOT)
      StorePairs(Load(x), format == ActivationFormat::kNibblePairs, out);
#endif
      return;
    case ActivationFormat::kBytes:
    case ActivationFormat::kBytePairs:
      return;  // PackRow packs these in steps
  }
}

void PackRow(ActivationFormat format, const float* x, int64_t n, uint8_t* out) {
  if (format == ActivationFormat::kBytes) return PackSteps<1>(x, n, out);
  if (format == ActivationFormat::kBytePairs) return PackSteps<2>(x, n, out);
  const int64_t bytes = StepBytes(format) / kStepColumns;
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) Pack16(format, x + i, out + i * bytes);
  if (i == n) return;
  alignas(64) float padded[16] = {};
  alignas(64) uint8_t packed[64];
  __builtin_memcpy(padded, x + i, static_cast<size_t>(n - i) * 4);
  Pack16(format, padded, packed);
  __builtin_memcpy(out + i * bytes, packed, static_cast<size_t>((n - i + 7) / 8 * 8 * bytes));
}
