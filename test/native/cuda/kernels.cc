// The kernels of native/cuda, the same text that nvcc reads, as C++ for the emulator; and what tensor cores
// do, by the tables of the PTX manual.
#include "cuda/shim.h"

namespace k2::cuda_text {

#include "cuda/kernels/arguments.inl.h"
#include "cuda/kernels/kernels.inl.h"

float F16Value(uint bits) {
  const uint exponent = bits >> 10 & 0x1fu, mantissa = bits & 0x3ffu;
  float value = exponent == 0 ? std::ldexp(float(mantissa), -24)
                              : std::ldexp(float(mantissa | 0x400u), int(exponent) - 25);
  if (exponent == 0x1fu) value = mantissa == 0 ? HUGE_VALF : NAN;
  return (bits & 0x8000u) != 0 ? -value : value;
}

uint FmaBf16Pair(uint a, uint b, uint c) {
  const auto one = [](uint x, uint y, uint z) {
    // Exact in double for all that the kernels do with it.
    return uint{RoundToBf16(float(double{Bf16Value(x)} * Bf16Value(y) + Bf16Value(z)))};
  };
  return one(a & 0xffffu, b & 0xffffu, c & 0xffffu) | one(a >> 16, b >> 16, c >> 16) << 16;
}

void MultiplyTiles(float (&d)[4], const uint (&a)[4], uint b0, uint b1, const Position& at, Where where) {
  struct Operands {
    uint a[4], b[2];
  };
  static Operands warps[1024 / kLanes][kLanes];
  Operands(&lanes)[kLanes] = warps[at.warp];
  lanes[at.lane] = {{a[0], a[1], a[2], a[3]}, {b0, b1}};
  SyncLanes(where);
  const auto half = [](uint pair, int i) { return Bf16Value(i == 0 ? pair & 0xffffu : pair >> 16); };
  for (int i = 0; i < 4; ++i) {
    const uint row = at.lane / 4 + i / 2 * 8, token = at.lane % 4 * 2 + i % 2;
    float sum = d[i];
    for (int k = 0; k < 16; ++k) {
      const Operands& of_row = lanes[row % 8 * 4 + k % 8 / 2];
      const Operands& of_token = lanes[token * 4 + k % 8 / 2];
      sum += half(of_row.a[row / 8 + k / 8 * 2], k % 2) * half(of_token.b[k / 8], k % 2);
    }
    d[i] = sum;
  }
  SyncLanes(where);  // all have read what the next operation overwrites
}

}  // namespace k2::cuda_text
