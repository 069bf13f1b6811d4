// exp and its relatives for single numbers, in portable arithmetic: the same bits on every machine.
// exp(x) = 2^n * exp(r) with n = round(x / ln 2); a polynomial of degree 6 serves |r| <= ln(2) / 2.
#pragma once

#include <bit>
#include <cstdint>

namespace k2 {

// The numbers of Exp, for vector forms of it. ln 2 is split in two so that n * kLn2High is exact; outside of
// [kLowest, kHighest] the result is 0 or infinity anyway. Polynomial: Cephes (Moshier), expf.
namespace exp_constants {
inline constexpr float kLowest = -104.0f, kHighest = 89.0f;
inline constexpr float kLog2E = 1.44269504088896341f;
inline constexpr float kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;
inline constexpr float kPolynomial[] = {1.9875691500e-4f, 1.3981999507e-3f, 8.3334519073e-3f,
                                        4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f};
}  // namespace exp_constants

// Relative error below 2e-7 where the result is a normal number; exactly 0 for -infinity; NaN for NaN.
inline float Exp(float x) {
  using namespace exp_constants;
  if (!(x == x)) return x;
  x = x < kLowest ? kLowest : x > kHighest ? kHighest : x;
  constexpr float kRounder = 0x1.8p23f;  // adding and subtracting it rounds to the nearest integer
  const float n = (x * kLog2E + kRounder) - kRounder;
  const float r = (x - n * kLn2High) - n * kLn2Low;
  float p = kPolynomial[0];
  for (int i = 1; i < 6; ++i) p = p * r + kPolynomial[i];
  p = (p * (r * r) + r) + 1.0f;
  // In two steps, since 2^n itself may lie outside of the normal range where the product does not.
  const int32_t whole = static_cast<int32_t>(n), half = whole / 2;
  const auto power = [](int32_t k) { return std::bit_cast<float>(static_cast<uint32_t>(k + 127) << 23); };
  return p * power(half) * power(whole - half);
}

// 1 / (1 + e^-x)
inline float Sigmoid(float x) { return 1.0f / (1.0f + Exp(-x)); }

// x * sigmoid(x)
inline float Silu(float x) { return x / (1.0f + Exp(-x)); }

}  // namespace k2
