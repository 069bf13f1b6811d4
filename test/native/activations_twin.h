// What a kernel multiplies with in place of the activations that it was given: the twin of its packing, in
// plain loops.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/dtype.h"
#include "cpu/linear_kernels.h"

namespace k2::test {

// round(a / scale) * scale for each 32 numbers, where `most` is the code of the largest. The quotient is
// formed as kernels do, in float, so that numbers between two codes fall to the same side.
inline std::vector<double> Quantised(const float* x, int64_t n, float most) {
  std::vector<double> result(static_cast<size_t>(n));
  for (int64_t first = 0; first < n; first += kStepColumns) {
    const int64_t last = std::min(n, first + kStepColumns);
    float largest = 0;
    bool finite = true;
    for (int64_t k = first; k < last; ++k) {
      finite = finite && std::isfinite(x[k]);
      largest = std::max(largest, std::fabs(x[k]));
    }
    const float inverse = most / largest, scale = largest / most;
    for (int64_t k = first; k < last; ++k) {
      const float quotient = x[k] * inverse;
      result[static_cast<size_t>(k)] = !finite               ? std::nan("")
                                       : largest < 0x1p-100f ? 0
                                                             : double{scale} * std::nearbyint(quotient);
    }
  }
  return result;
}

inline std::vector<double> AsMultiplied(ActivationFormat format, const float* x, int64_t n) {
  if (format == ActivationFormat::kBytes) return Quantised(x, n, 127);
  if (format == ActivationFormat::kBytePairs) return Quantised(x, n, 127 * 128 + 63);
  std::vector<double> result(x, x + n);
  if (format != ActivationFormat::kFloat) {
    for (double& value : result) value = Bf16ToFloat(FloatToBf16(static_cast<float>(value)));
  }
  return result;
}

// By how much a code may be another one if x itself is uncertain by 2^-13 of the largest number of its step:
// one unit for those near the middle between two codes.
inline std::vector<double> Undecided(ActivationFormat format, const float* x, int64_t n) {
  std::vector<double> result(static_cast<size_t>(n));
  if (!IsPlanes(format)) return result;
  const float most = format == ActivationFormat::kBytes ? 127 : 127 * 128 + 63;
  for (int64_t first = 0; first < n; first += kStepColumns) {
    const int64_t last = std::min(n, first + kStepColumns);
    double largest = 0;
    for (int64_t k = first; k < last; ++k) largest = std::max(largest, std::fabs(double{x[k]}));
    for (int64_t k = first; k < last; ++k) {
      const double quotient = x[k] / largest * most;
      const double from_middle = std::fabs(quotient - std::floor(quotient) - 0.5);
      if (from_middle < most * 0x1p-13) result[static_cast<size_t>(k)] = largest / most;
    }
  }
  return result;
}

}  // namespace k2::test
