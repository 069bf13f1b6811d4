// Latent attention of the CPU backend, and the layout of its cache.
//
// A cache page holds one row per token: [R latent | Dr rope key | zeros] in bf16, padded to 32 columns, so
// that the row is key (all of it) and value (its first R columns) at once, and whole vectors fit it.
#pragma once

#include <vector>

#include "base/buffer.h"
#include "base/thread_pool.h"
#include "cpu/attention_kernels.h"
#include "cpu/attention_plan.h"
#include "cpu/isa.h"
#include "ops/backend.h"

namespace k2 {

class Attention {
 public:
  static int64_t CacheBytesPerToken(const BackendShapes& shapes);
  // Bytes that Prepare takes.
  static int64_t ScratchBytes(const BackendShapes& shapes, int threads);

  // Called once, before any call below; `threads` as in the pool of those calls.
  Status Prepare(const BackendShapes& shapes, int threads, Isa isa);

  void AppendKv(const AppendKvParams& p, ThreadPool& pool) const;
  void LatentAttention(const LatentAttentionParams& p, ThreadPool& pool);

 private:
  void RunAbsorbed(const LatentAttentionParams& p, ThreadPool& pool);
  void RunExpanded(const LatentAttentionParams& p, ThreadPool& pool) const;
  void Merge(const AbsorbedStep& step, ThreadPool& pool) const;

  AttentionSizes sizes_;
  AttentionKernels kernels_;
  AlignedBuffer memory_;
  std::vector<AttentionScratch> scratch_;  // per thread
  // Of the absorbed form, for all threads.
  void* queries_ = nullptr;  // of a step
  QuerySums sums_ = {};      // of a step
  QuerySums splits_ = {};    // of a wave
  AbsorbedPlan plan_;
};

}  // namespace k2
