// Latent attention of the CPU backend, and the layout of its cache.
//
// A cache page holds one row per token.
//   bf16  [R latent | Dr rope key | zeros], padded to 32 columns, so that the row is key (all of it) and
//   value
//         (its first R columns) at once, and whole vectors fit it
//   int8  [scales, f32 | Dr rope key, bf16 | R latent, int8 | zeros], padded to 16 bytes; latent times scale,
//         rounded to bf16, is what attention reads
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
  explicit Attention(CacheType cache_type) : cache_type_(cache_type) {}

  int64_t CacheBytesPerToken(const BackendShapes& shapes) const;
  // Bytes that Prepare takes.
  int64_t ScratchBytes(const BackendShapes& shapes, int threads) const;

  // Called once, before any call below, which use the same pool.
  Status Prepare(const BackendShapes& shapes, ThreadPool& pool, Isa isa);

  void AppendKv(const AppendKvParams& p, ThreadPool& pool) const;
  void LatentAttention(const LatentAttentionParams& p, ThreadPool& pool);

 private:
  void RunAbsorbed(const LatentAttentionParams& p, ThreadPool& pool);
  void RunExpanded(const LatentAttentionParams& p, ThreadPool& pool) const;
  void Merge(const AbsorbedStep& step, ThreadPool& pool) const;

  const CacheType cache_type_;
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
