// Activations as integers, for products with INT4 weights that are exact until a scale is applied. A step of
// 32 columns has one scale, and the numbers
//   q = round(a / scale),  a = scale * q + an error of at most scale / 2
// One plane holds |q| <= 127. Two hold |q| <= 16319 as q = 128 h + l, -64 <= l < 64, which fits the signed
// bytes that dot products take: 16-bit activations for processors that multiply no floats of 16 bits. Their
// error is at most 2^-15 of the largest number of the step, that of one plane 2^-8.
#pragma once

#include <cstdint>

namespace k2 {

// Columns whose products are summed before the scale is applied.
constexpr int kStepColumns = 32;

template <int kPlanes>
struct PlaneStep {
  // h, then l; or q. Of each 16 columns first the even ones, then the odd ones: so nibbles leave their words.
  int8_t planes[kPlanes][kStepColumns];
  float scale;    // NaN when one of the 32 is not finite; 0 when all are less than kLeastMagnitude
  int32_t start;  // -8 sum(q): weights are multiplied as 0..15 instead of -8..7, and this makes up for it
};

template <int kPlanes>
constexpr int kLargestCode = kPlanes == 1 ? 127 : 127 * 128 + 63;

// Below it, the scale of a step or its inverse would be no normal number.
constexpr float kLeastMagnitude = 0x1p-100f;

}  // namespace k2
