// Which instruction set the CPU kernels use. Chosen once from the processor, or forced by name; a set is a
// whole family of kernels (linears, attention, norms), so one name says how every number of a run was
// rounded.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"

namespace k2 {

// Products of INT4 weights are formed in f32, in bf16, or of integers (activation_planes.h); those of BF16
// and FP8 weights in f32 or in bf16.
enum class Isa {
  kScalar,          // portable C++, f32
  kAvx2,            // AVX2, FMA, F16C; f32
  kAvx2Vnni,        // the same with the byte dot product in its VEX form; integers
  kAvx512,          // AVX-512 F, BW, DQ, VL; f32
  kAvx512Vnni,      // the same with the byte dot product; integers
  kAvx512Bf16,      // the same with the bf16 dot product; bf16
  kAvx512Bf16Vnni,  // the same, but INT4 weights meet integers; where a bf16 dot product is slow
  kNeon,            // aarch64; f32
  kNeonDotprod,     // the same with the byte dot product; integers
  kNeonI8mm,        // the same with the matrix product of bytes; integers
  kNeonBf16,        // the same with dot and matrix product of bf16; bf16
};

// "scalar", "avx2", "avx2-vnni", "avx512", "avx512-vnni", "avx512-bf16", "neon", "neon-dotprod", "neon-i8mm",
// "neon-bf16".
const char* IsaName(Isa isa);

// Those that this build has and this processor can run, best first; never empty.
std::vector<Isa> SupportedIsas();

// The best supported one for an empty name; kInvalidArgument for a name that is unknown or not supported
// here.
Result<Isa> ChooseIsa(const std::string& forced);

}  // namespace k2
