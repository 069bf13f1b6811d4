// What all linears of a backend share: the kernel set, the threads, and the memory for packed activations and
// for the sums of a row block. Linear(), FeedForward() and RoutedExperts() never run at the same time.
#pragma once

#include <cstdint>

#include "base/buffer.h"
#include "base/thread_pool.h"
#include "cpu/linear_kernels.h"
#include "ops/backend.h"

namespace k2 {

struct PackedRows {
  const uint8_t* rows;
  int64_t stride;  // bytes
};

class LinearScratch {
 public:
  // More tokens than this go through the kernels in slabs; weights are read once per slab.
  static constexpr int64_t kMostSlabTokens = 512;
  // Two row blocks, and a step of hidden columns.
  static constexpr int kSums = 2 + kStepColumns / kBlockRows;

  LinearScratch(const LinearKernels& kernels, ThreadPool& pool) : kernels_(kernels), pool_(pool) {}

  const LinearKernels& kernels() const { return kernels_; }
  ThreadPool& pool() const { return pool_; }

  static int64_t SlabTokens(const BackendShapes& shapes);
  int64_t Bytes(const BackendShapes& shapes) const;
  Status Prepare(const BackendShapes& shapes);

  int64_t slab_tokens() const { return slab_tokens_; }

  // Makes x, of at most slab_tokens() rows, the activations of the linears that follow.
  void Begin(const Tensor& x);
  // Those activations in a format; packed by all threads when first asked for.
  PackedRows Rows(ActivationFormat format);

  // [slab_tokens, 16] for one thread; kSums of them, one behind the other.
  float* Sums(int thread, int which) const {
    return sums_ + (thread * kSums + which) * slab_tokens_ * kBlockRows;
  }

 private:
  int64_t PackedRowsBytes(const BackendShapes& shapes) const;

  const LinearKernels& kernels_;
  ThreadPool& pool_;
  AlignedBuffer buffer_;
  int64_t slab_tokens_ = 0;
  float* sums_ = nullptr;
  uint8_t* packed_ = nullptr;

  Tensor x_;
  int64_t packed_used_ = 0;
  PackedRows rows_[kActivationFormats] = {};
};

// Row blocks for one task of a thread: about 64 KiB of weights, less when many tokens multiply with them.
int64_t BlocksPerTask(int64_t block_bytes, int64_t tokens);

}  // namespace k2
