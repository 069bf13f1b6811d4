// The CPU backend: one set of kernels, chosen at construction, on a pool of threads.
#pragma once

#include <memory>
#include <string>

#include "cpu/attention.h"
#include "cpu/elementwise.h"
#include "cpu/experts.h"
#include "cpu/isa.h"
#include "cpu/linear_scratch.h"
#include "cpu/router.h"
#include "ops/backend.h"

namespace k2 {

class CpuBackend final : public Backend {
 public:
  static Result<std::unique_ptr<Backend>> Make(const BackendOptions& options);

  const char* name() const override { return "cpu"; }
  std::string kernels() const override;
  std::string kernel_set() const override;

  void BeginStep(const std::function<bool()>* keep_going) override { pool_->StopWhenNot(keep_going); }
  Status Synchronize() override;
  Status Prepare(const BackendShapes& shapes) override;
  int64_t ScratchBytes(const BackendShapes& shapes) const override;
  int64_t CacheBytesPerToken(const BackendShapes& shapes) const override;

  void Embed(const EmbedParams& p) override;
  void RmsNorm(const RmsNormParams& p) override;
  void Linear(const LinearParams& p) override;
  void Rope(const RopeParams& p) override;
  void AppendKv(const AppendKvParams& p) override;
  void LatentAttention(const LatentAttentionParams& p) override;
  void Router(const RouterParams& p) override;
  void SwiGlu(const SwiGluParams& p) override;
  void Add(const AddParams& p) override;
  void FeedForward(const FeedForwardParams& p) override;
  void RoutedExperts(const RoutedExpertsParams& p) override;

 private:
  CpuBackend(Isa isa, const BackendOptions& options, std::unique_ptr<ThreadPool> pool);

  const Isa isa_;
  const Activations activations_;
  const CacheType cache_type_;
  const std::unique_ptr<ThreadPool> pool_;
  LinearScratch linear_scratch_;
  CpuExperts experts_;
  Elementwise elementwise_;
  TopKRouter router_;
  Attention attention_;
};

}  // namespace k2
