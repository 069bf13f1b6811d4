// The CUDA backend on the mock of a driver.
#include "check.h"
#include "cuda/cuda_backend.h"
#include "cuda/mock_driver.h"

namespace k2::test {
namespace {

// Waits for the end of every op.
class WaitingBackend final : public Backend {
 public:
  explicit WaitingBackend(std::unique_ptr<Backend> backend) : backend_(std::move(backend)) {}

  const char* name() const override { return backend_->name(); }
  std::string kernels() const override { return backend_->kernels(); }
  Status Prepare(const BackendShapes& shapes) override { return backend_->Prepare(shapes); }
  Status HoldWeights(int64_t bytes) override { return backend_->HoldWeights(bytes); }
  int64_t ScratchBytes(const BackendShapes& shapes) const override { return backend_->ScratchBytes(shapes); }
  int64_t CacheBytesPerToken(const BackendShapes& shapes) const override {
    return backend_->CacheBytesPerToken(shapes);
  }

  void Embed(const EmbedParams& p) override { Wait(&Backend::Embed, p); }
  void RmsNorm(const RmsNormParams& p) override { Wait(&Backend::RmsNorm, p); }
  void Linear(const LinearParams& p) override { Wait(&Backend::Linear, p); }
  void Rope(const RopeParams& p) override { Wait(&Backend::Rope, p); }
  void AppendKv(const AppendKvParams& p) override { Wait(&Backend::AppendKv, p); }
  void LatentAttention(const LatentAttentionParams& p) override { Wait(&Backend::LatentAttention, p); }
  void Router(const RouterParams& p) override { Wait(&Backend::Router, p); }
  void SwiGlu(const SwiGluParams& p) override { Wait(&Backend::SwiGlu, p); }
  void Add(const AddParams& p) override { Wait(&Backend::Add, p); }
  void FeedForward(const FeedForwardParams& p) override { Wait(&Backend::FeedForward, p); }
  void RoutedExperts(const RoutedExpertsParams& p) override { Wait(&Backend::RoutedExperts, p); }
  Status Synchronize() override { return std::exchange(status_, Status()); }

 private:
  template <typename Params>
  void Wait(void (Backend::*op)(const Params&), const Params& p) {
    (backend_.get()->*op)(p);
    Status status = backend_->Synchronize();
    if (status_.ok()) status_ = std::move(status);
  }

  std::unique_ptr<Backend> backend_;
  Status status_;
};

}  // namespace

std::unique_ptr<Backend> MakeEmulatedCuda(uint64_t seed, bool is_deferred) {
  MockGpu().seed = seed;
  Result<std::unique_ptr<cuda::Device>> device = cuda::Device::Make(MockDriver(), MockImage());
  EXPECT(device.ok());
  auto backend = std::make_unique<cuda::CudaBackend>(std::move(device.value()));
  if (is_deferred) return backend;
  return std::make_unique<WaitingBackend>(std::move(backend));
}

}  // namespace k2::test
