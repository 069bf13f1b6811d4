#include "reference/tolerance.h"

#include <cmath>

namespace k2 {

Bounded Exactly(const float* x, int64_t n) {
  return {.value = {x, x + n}, .bound = std::vector<double>(static_cast<size_t>(n), 0.0)};
}

Bounded LinearBounded(const Bounded& x, const Weight& w, bool full_precision) {
  Bounded y;
  std::vector<float> row(static_cast<size_t>(w.columns));
  for (int64_t n = 0; n < w.rows; ++n) {
    DecodeRow(w, n, row.data());
    double sum = 0, squares = 0, strayed = 0, magnitude = 0;
    for (size_t k = 0; k < row.size(); ++k) {
      const double product = x.value[k] * row[k];
      sum += product;
      squares += product * product;
      strayed += x.bound[k] * row[k] * x.bound[k] * row[k];
      magnitude += std::fabs(product);
    }
    y.value.push_back(sum);
    y.bound.push_back((full_precision ? 0 : kRounding * std::sqrt(squares)) + std::sqrt(strayed) +
                      kSumming * magnitude);
  }
  return y;
}

Bounded FeedForwardBounded(const Bounded& x, const Weight& gate, const Weight& up, const Weight& down) {
  const Bounded g = LinearBounded(x, gate, false), u = LinearBounded(x, up, false);
  Bounded h;
  for (size_t i = 0; i < g.value.size(); ++i) {
    const double silu = g.value[i] / (1 + std::exp(-g.value[i]));
    h.value.push_back(silu * u.value[i]);
    // The slope of silu is at most 1.1.
    h.bound.push_back(1.1 * g.bound[i] * (std::fabs(u.value[i]) + u.bound[i]) + std::fabs(silu) * u.bound[i]);
  }
  return LinearBounded(h, down, false);
}

}  // namespace k2
