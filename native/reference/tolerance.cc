#include "reference/tolerance.h"

#include <algorithm>
#include <cmath>

namespace k2 {

Bounded Exactly(const float* x, int64_t n) {
  return {.value = {x, x + n}, .bound = std::vector<double>(static_cast<size_t>(n), 0.0)};
}

namespace {

// How far each number may be from what it is multiplied as.
std::vector<double> RoundingOf(const Bounded& x, const Weight& w, Activations activations) {
  constexpr size_t kStep = 32;  // columns that share the scale of their integers
  const bool is_int8 = w.storage == Storage::kInt4 && activations == Activations::kInt8;
  std::vector<double> rounding(x.value.size());
  for (size_t first = 0; first < rounding.size(); first += kStep) {
    const size_t last = std::min(first + kStep, rounding.size());
    double largest = 0;
    for (size_t k = first; k < last; ++k) largest = std::max(largest, std::fabs(x.value[k]) + x.bound[k]);
    // Half a unit.
    const double integer = w.storage == Storage::kInt4 ? largest * (is_int8 ? 0.5 / 127 : 0x1p-15) : 0;
    for (size_t k = first; k < last; ++k) {
      rounding[k] = is_int8 ? integer : std::max(integer, std::fabs(x.value[k]) * 0x1p-9);
    }
  }
  return rounding;
}

}  // namespace

Bounded LinearBounded(const Bounded& x, const Weight& w, bool full_precision, Activations activations) {
  Bounded y;
  const std::vector<double> rounding = RoundingOf(x, w, activations);
  std::vector<float> row(static_cast<size_t>(w.columns));
  for (int64_t n = 0; n < w.rows; ++n) {
    DecodeRow(w, n, row.data());
    double sum = 0, squares = 0, strayed = 0, magnitude = 0;
    for (size_t k = 0; k < row.size(); ++k) {
      const double product = x.value[k] * row[k];
      sum += product;
      squares += rounding[k] * row[k] * rounding[k] * row[k];
      strayed += x.bound[k] * row[k] * x.bound[k] * row[k];
      magnitude += std::fabs(product);
    }
    y.value.push_back(sum);
    y.bound.push_back((full_precision ? 0 : kStraying * std::sqrt(squares)) + std::sqrt(strayed) +
                      kSumming * magnitude);
  }
  return y;
}

Bounded FeedForwardBounded(const Bounded& x, const Weight& gate, const Weight& up, const Weight& down,
                           Activations activations) {
  const Bounded g = LinearBounded(x, gate, false, activations);
  const Bounded u = LinearBounded(x, up, false, activations);
  Bounded h;
  for (size_t i = 0; i < g.value.size(); ++i) {
    const double silu = g.value[i] / (1 + std::exp(-g.value[i]));
    h.value.push_back(silu * u.value[i]);
    // The slope of silu is at most 1.1.
    h.bound.push_back(1.1 * g.bound[i] * (std::fabs(u.value[i]) + u.bound[i]) + std::fabs(silu) * u.bound[i]);
  }
  return LinearBounded(h, down, false, activations);
}

}  // namespace k2
