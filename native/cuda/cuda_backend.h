// The CUDA backend: every op as kernels on one device. Ops are handed over and run until Synchronize;
// weights, activations and cache have copies on the device (host_memory.h, weight_memory.h).
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cuda/attention.h"
#include "cuda/encoder.h"
#include "cuda/experts.h"
#include "ops/backend.h"

namespace k2::cuda {

class CudaBackend final : public Backend {
 public:
  explicit CudaBackend(std::unique_ptr<Device> device) : device_(std::move(device)), encoder_(*device_) {}
  // Nothing may run on while its memory is given back.
  ~CudaBackend() override { static_cast<void>(CudaBackend::Synchronize()); }

  const char* name() const override { return "cuda"; }
  std::string kernels() const override { return "cuda on " + device_->name(); }

  Status Prepare(const BackendShapes& shapes) override;
  Status HoldWeights(int64_t bytes) override;
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
  Status Synchronize() override;

 private:
  // Cosines and sines of a call. All layers of a step turn by the same ones.
  struct Turns {
    std::vector<int64_t> positions;
    std::vector<double> frequencies;
    double magnitude = 0;
    Address address = 0;
  };
  Address TurnsOf(const RopeParams& p);

  const std::unique_ptr<Device> device_;
  Encoder encoder_;
  Attention attention_;
  Experts experts_;
  Turns turns_;
};

}  // namespace k2::cuda
