#include "cpu/cpu_backend.h"

#include <utility>

#include "cpu/linear.h"
#include "ops/registry.h"

namespace k2 {

CpuBackend::CpuBackend(Isa isa, const BackendOptions& options, std::unique_ptr<ThreadPool> pool)
    : isa_(isa),
      activations_(options.activations),
      cache_type_(options.cache_type),
      pool_(std::move(pool)),
      linear_scratch_(LinearKernelsFor(isa, activations_), *pool_),
      experts_(linear_scratch_, ElementwiseKernelsFor(isa), options.expert_copy_bytes),
      attention_(cache_type_) {}

Result<std::unique_ptr<Backend>> CpuBackend::Make(const BackendOptions& options) {
  if (options.threads < 1) {
    return Status(ErrorCode::kInvalidArgument,
                  "Expected at least 1 for threads, got " + std::to_string(options.threads));
  }
  Result<Isa> isa = ChooseIsa(options.isa);
  if (!isa.ok()) return isa.status();
  Result<std::unique_ptr<ThreadPool>> pool = ThreadPool::Create(options.threads);
  if (!pool.ok()) return pool.status();
  return std::unique_ptr<Backend>(new CpuBackend(isa.value(), options, std::move(pool.value())));
}

std::string CpuBackend::kernel_set() const {
  std::string set = IsaName(isa_);
  if (activations_ == Activations::kInt8) set += " with int8 activations";
  if (cache_type_ == CacheType::kInt8) set += " with int8 latents";
  return set;
}

std::string CpuBackend::kernels() const {
  return kernel_set() + ", " + std::to_string(pool_->threads()) +
         (pool_->threads() == 1 ? " thread" : " threads");
}

// Backend::Prepare is left out: its memory is for the composed feed-forwards, and ours are fused.
Status CpuBackend::Prepare(const BackendShapes& shapes) {
  K2_RETURN_IF_ERROR(linear_scratch_.Prepare(shapes));
  K2_RETURN_IF_ERROR(experts_.Prepare(shapes));
  K2_RETURN_IF_ERROR(elementwise_.Prepare(shapes, isa_));
  K2_RETURN_IF_ERROR(router_.Prepare(shapes, pool_->threads()));
  return attention_.Prepare(shapes, *pool_, isa_);
}

int64_t CpuBackend::ScratchBytes(const BackendShapes& shapes) const {
  return linear_scratch_.Bytes(shapes) + experts_.Bytes(shapes) + Elementwise::ScratchBytes(shapes) +
         TopKRouter::ScratchBytes(shapes, pool_->threads()) +
         attention_.ScratchBytes(shapes, pool_->threads());
}

int64_t CpuBackend::CacheBytesPerToken(const BackendShapes& shapes) const {
  return attention_.CacheBytesPerToken(shapes);
}

void CpuBackend::Embed(const EmbedParams& p) { elementwise_.Embed(p, *pool_); }
void CpuBackend::RmsNorm(const RmsNormParams& p) { elementwise_.RmsNorm(p, *pool_); }
void CpuBackend::Linear(const LinearParams& p) { CpuLinear(linear_scratch_, p); }
void CpuBackend::Rope(const RopeParams& p) { elementwise_.Rope(p, *pool_); }
void CpuBackend::AppendKv(const AppendKvParams& p) { attention_.AppendKv(p, *pool_); }
void CpuBackend::LatentAttention(const LatentAttentionParams& p) { attention_.LatentAttention(p, *pool_); }
void CpuBackend::Router(const RouterParams& p) { router_.Route(p, *pool_); }
void CpuBackend::SwiGlu(const SwiGluParams& p) { elementwise_.SwiGlu(p, *pool_); }
void CpuBackend::Add(const AddParams& p) { elementwise_.Add(p, *pool_); }
void CpuBackend::FeedForward(const FeedForwardParams& p) { experts_.FeedForward(p); }
// Skips its threads' work like every op when the step was stopped, and what it does before that work as well:
// ids that the router did not come to write may be anything.
void CpuBackend::RoutedExperts(const RoutedExpertsParams& p) {
  if (!pool_->stopped()) experts_.RoutedExperts(p);
}

Status CpuBackend::Synchronize() {
  return pool_->stopped() ? Status(ErrorCode::kAborted, "Expected the step to finish, got an abort")
                          : Status();
}

BackendEntry CpuBackendEntry() {
  return {.name = "cpu",
          .make = CpuBackend::Make,
          .absent_because = [] { return std::string(); },
          .kernel_sets =
              [] {
                std::string names;
                for (Isa isa : SupportedIsas()) {
                  names += names.empty() ? "" : " ";
                  names += IsaName(isa);
                }
                return names;
              }};
}

}  // namespace k2
