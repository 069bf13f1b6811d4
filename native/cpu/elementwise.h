// The ops of the CPU backend that touch every number once or twice: embedding, norm, rope, SwiGLU, residual
// add. Rows are shared out to the pool where there are enough of them to pay for it.
#pragma once

#include "base/buffer.h"
#include "base/thread_pool.h"
#include "cpu/isa.h"
#include "ops/backend.h"

namespace k2 {

// Row functions of one ISA.
struct ElementwiseKernels {
  // As DecodeRow (base/tensor.h).
  void (*decode)(const Weight& w, int64_t i, float* out);
  // y = w * x / sqrt(mean(x^2) + eps); y may be x.
  void (*rms_norm)(const float* x, const float* w, int64_t n, double eps, float* y);
  // y = silu(gate) * up; y may be gate or up.
  void (*swiglu)(const float* gate, const float* up, int64_t n, float* y);
  // y += x
  void (*add)(const float* x, int64_t n, float* y);
};

ElementwiseKernels ElementwiseKernelsFor(Isa isa);

class Elementwise {
 public:
  static int64_t ScratchBytes(const BackendShapes& shapes);

  // Called once, before any call below.
  Status Prepare(const BackendShapes& shapes, Isa isa);

  void Embed(const EmbedParams& p, ThreadPool& pool) const;
  void RmsNorm(const RmsNormParams& p, ThreadPool& pool) const;
  void Rope(const RopeParams& p, ThreadPool& pool) const;
  void SwiGlu(const SwiGluParams& p, ThreadPool& pool) const;
  void Add(const AddParams& p, ThreadPool& pool) const;

 private:
  ElementwiseKernels kernels_ = {};
  AlignedBuffer norm_weight_;  // the norm's weight as floats
};

}  // namespace k2
