// The loops whose speed is the limit of a machine: reading memory, and multiplying in registers. Each uses
// the widest instructions that this processor has; none of them shares code with the kernels that are
// compared with it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace k2 {

// The sum of the 64-bit words of memory; reads every byte but a last part of less than 512.
uint64_t SumWords(const uint8_t* data, size_t size);

// One kind of arithmetic at full rate, on registers alone.
struct Arithmetic {
  // "bf16-dot", "int8-vnni", "int8-avx-vnni", "f32-avx512", "f32-avx2", "bf16-neon", "int8-i8mm",
  // "int8-dotprod", "f32-neon", "f32-portable"
  const char* name;
  double operations;                  // of one iteration; a multiply-add counts as two
  float (*loop)(int64_t iterations);  // the result only keeps the loop alive
};

// Those that this processor has.
std::span<const Arithmetic> Arithmetics();
// Null when there is none of that name here.
const Arithmetic* FindArithmetic(const char* name);
// What the kernels of a set multiply with: names of arithmetics for the name of a kernel set.
struct KernelArithmetic {
  const char* name;
  const char* int4;   // with INT4 weights
  int int4_products;  // that a multiply-add with an INT4 weight takes
};
KernelArithmetic ArithmeticOfKernels(const char* isa, bool int8_activations);

}  // namespace k2
