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
    float a[4][2], b[2][2];
  };
  static Operands warps[1024 / kLanes][kLanes];
  Operands(&lanes)[kLanes] = warps[at.warp];
  Operands& own = lanes[at.lane];
  for (int i = 0; i < 4; ++i) own.a[i][0] = Bf16Value(a[i] & 0xffffu), own.a[i][1] = Bf16Value(a[i] >> 16);
  for (int i = 0; i < 2; ++i) {
    const uint pair = i == 0 ? b0 : b1;
    own.b[i][0] = Bf16Value(pair & 0xffffu), own.b[i][1] = Bf16Value(pair >> 16);
  }
  SyncLanes(where);
  for (uint i = 0; i < 4; ++i) {
    const Operands* const of_row = lanes + at.lane / 4 * 4;
    const Operands* const of_token = lanes + (at.lane % 4 * 2 + i % 2) * 4;
    float sum = d[i];
    // Column 8 half + 2 lane + j.
    for (uint half = 0; half < 2; ++half) {
      for (uint lane = 0; lane < 4; ++lane) {
        for (uint j = 0; j < 2; ++j) sum += of_row[lane].a[i / 2 + half * 2][j] * of_token[lane].b[half][j];
      }
    }
    d[i] = sum;
  }
  SyncLanes(where);  // all have read what the next operation overwrites
}

}  // namespace k2::cuda_text
