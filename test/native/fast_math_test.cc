// Exp and its relatives against libm over the whole range, and at its ends.
#include "base/fast_math.h"

#include <cmath>
#include <limits>

#include "check.h"

namespace k2::test {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

TEST(fast_math_exp_is_within_its_bound) {
  double worst = 0;
  for (double x = -87.33; x < 88.72; x += 1.3e-4) {
    const double expected = std::exp(static_cast<double>(static_cast<float>(x)));
    worst = std::fmax(worst, std::fabs(Exp(static_cast<float>(x)) - expected) / expected);
  }
  EXPECT(worst > 0);
  EXPECT_NEAR(worst, 0, 2e-7);
}

TEST(fast_math_ends_of_the_range) {
  EXPECT(Exp(0.0f) == 1.0f);
  EXPECT(Exp(-kInfinity) == 0.0f);
  EXPECT(Exp(-104.0f) == 0.0f);
  EXPECT(Exp(89.0f) == kInfinity);
  EXPECT(Exp(kInfinity) == kInfinity);
  EXPECT(std::isnan(Exp(std::numeric_limits<float>::quiet_NaN())));
  EXPECT(Sigmoid(-200.0f) == 0.0f);
  EXPECT(Sigmoid(200.0f) == 1.0f);
  EXPECT(Sigmoid(0.0f) == 0.5f);
  EXPECT(Silu(-200.0f) == 0.0f);
  EXPECT(Silu(200.0f) == 200.0f);
  EXPECT_NEAR(Silu(1.0f), 0.7310585786300049, 1e-7);
}

}  // namespace
}  // namespace k2::test
