// The forward pass of the Kimi K2 family (DeepSeek-V3 graph), written once for all backends.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "model/expert_store.h"
#include "model/kv_cache.h"
#include "model/spec.h"
#include "model/weights.h"
#include "ops/backend.h"

namespace k2 {

// Consecutive tokens of one session inside a batch.
struct BatchPart {
  KvCache* cache;  // has room reserved for the tokens at its length
  std::span<const int32_t> ids;
  AttentionForm form;
  Tensor logits;  // [n, V]: where the logits of the last n of the tokens go; n may be 0
};

// One forward step: rows of several sessions. Nothing that a row yields depends on the other rows.
struct Batch {
  std::vector<BatchPart> parts;
  bool writes_logits = false;  // Forward has begun with the parts' logits
};

class KimiK2 {
 public:
  // `batch_tokens` is the most rows of one Forward. With a store the routed experts come from there; without
  // one they are used where the files are mapped.
  static Result<std::unique_ptr<KimiK2>> Create(const ModelSpec& spec, std::unique_ptr<Weights> weights,
                                                std::unique_ptr<Backend> backend, int64_t batch_tokens,
                                                std::unique_ptr<ExpertStore> store = nullptr);

  // Runs the batch; the caches hold the new rows but are not committed. `keep_going` is asked before every
  // layer, where one waits for experts, and by the backend in the midst of ops. False ends the step with
  // kAborted, and nothing that the step has written means anything. It may also take the logits from a part
  // (no rows) until the batch writes them.
  Status Forward(Batch& batch, const std::function<bool()>& keep_going);

  KvCache NewCache() const { return KvCache(spec_.layers, cache_bytes_per_token_); }
  // Of a model with experts.
  RoutingTrace NewTrace() const { return RoutingTrace(spec_.MoeLayers(), spec_.chosen); }
  const ModelSpec& spec() const { return spec_; }
  const Backend& backend() const { return *backend_; }
  const Weights& weights() const { return *weights_; }
  int64_t batch_tokens() const { return batch_tokens_; }

  // Bytes of activations that Create takes, beside the backend's own scratch.
  static int64_t ActivationBytes(const ModelSpec& spec, int64_t batch_tokens);

 private:
  // Rows of one step. Names follow the paper; shapes in letters of docs/shapes.md.
  struct Activations {
    Tensor x;               // [T, D] residual stream
    Tensor normed;          // [T, D]
    Tensor block_out;       // [T, D]
    Tensor q_latent;        // [T, Rq]
    Tensor q;               // [T, H (Dn + Dr)]
    Tensor kv;              // [T, R + Dr]
    Tensor heads_out;       // [T, H Dv]
    Tensor router;          // [T, E]
    Tensor expert_weights;  // [T, K]
    int32_t* expert_ids;    // [T, K]

    // The part that a step of `n` tokens uses.
    Activations Rows(int64_t n) const;
  };

  KimiK2() = default;
  void Attention(const LayerWeights& w, const Activations& a, std::span<const Segment> segments);
  Status FeedForward(size_t layer, const Activations& a, const std::function<bool()>& keep_going);
  void Route(const LayerWeights& w, int64_t chosen, const Activations& a, int32_t* ids, float* weights);
  Status StreamedExperts(size_t layer, const Activations& a, const std::function<bool()>& keep_going);
  void GuessExperts(size_t layer, const Activations& a);
  // Writes what the router chose in the layer just computed to the sessions that keep a trace.
  Status Trace(const Batch& batch, std::span<const Segment> segments, int64_t moe_layer,
               const Activations& a);
  void Head(const Batch& batch, std::span<const Segment> segments, const Activations& a);
  // Cuts `memory` (null: only counts) into the tensors of `out`; returns the bytes they take.
  static int64_t Layout(const ModelSpec& spec, int64_t batch_tokens, float* memory, Activations& out);

  ModelSpec spec_;
  RopeTable rope_;
  std::unique_ptr<Weights> weights_;
  std::unique_ptr<ExpertStore> store_;  // null: all experts are mapped
  std::unique_ptr<Backend> backend_;
  AlignedBuffer activation_memory_;
  Activations activations_;  // of batch_tokens_ rows
  int64_t batch_tokens_ = 0;
  int64_t cache_bytes_per_token_ = 0;
  std::vector<int32_t> ids_;        // [T]
  std::vector<int64_t> positions_;  // [T]
  std::vector<int32_t> guessed_ids_;
  std::vector<float> guessed_weights_;
};

}  // namespace k2
