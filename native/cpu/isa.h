// Which instruction set the CPU kernels use. Chosen once from the processor, or forced by name; a set is a
// whole family of kernels (linears, attention, norms), so one name says how every number of a run was
// rounded.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"

namespace k2 {

enum class Isa {
  kScalar,      // portable C++
  kAvx2,        // AVX2, FMA, F16C
  kAvx512,      // AVX-512 F, BW, DQ, VL: products in f32
  kAvx512Bf16,  // the same with the bf16 dot product
  kNeon,        // aarch64: products in f32
};

// "scalar", "avx2", "avx512", "avx512-bf16", "neon".
const char* IsaName(Isa isa);

// Those that this build has and this processor can run, best first; never empty.
std::vector<Isa> SupportedIsas();

// The best supported one for an empty name; kInvalidArgument for a name that is unknown or not supported
// here.
Result<Isa> ChooseIsa(const std::string& forced);

}  // namespace k2
