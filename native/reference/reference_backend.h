// The truth: every op in plain loops with double accumulation, no intrinsics, one thread. Activations and the
// cache stay float, so that its only difference from exact arithmetic is the rounding of stored floats. With
// an int8 cache latents are rounded to what 8 bits would say, and held as floats.
#pragma once

#include <vector>

#include "ops/backend.h"

namespace k2 {

class ReferenceBackend final : public Backend {
 public:
  explicit ReferenceBackend(CacheType cache_type) : cache_type_(cache_type) {}

  const char* name() const override { return "reference"; }
  std::string kernels() const override {
    const char* const latents = cache_type_ == CacheType::kInt8 ? ", int8 latents" : "";
    return std::string("scalar, double accumulation") + latents;
  }
  int64_t CacheBytesPerToken(const BackendShapes& shapes) const override {
    return (shapes.kv_rank + shapes.rope_dim) * static_cast<int64_t>(sizeof(float));
  }

  void Embed(const EmbedParams&) override;
  void RmsNorm(const RmsNormParams&) override;
  void Linear(const LinearParams&) override;
  void Rope(const RopeParams&) override;
  void AppendKv(const AppendKvParams&) override;
  void LatentAttention(const LatentAttentionParams&) override;
  void Router(const RouterParams&) override;
  void SwiGlu(const SwiGluParams&) override;
  void Add(const AddParams&) override;

 private:
  const CacheType cache_type_;
  std::vector<float> weight_row_;  // one decoded row of a weight
};

}  // namespace k2
