#include "model/kimi_k2.h"

#include <algorithm>

namespace k2 {

// One layer's first half: h + W_o attention(RMSNorm(h)).
void KimiK2::Attention(const LayerWeights& w, const Activations& a, std::span<const Segment> segments) {
  Backend& b = *backend_;
  const ModelSpec& s = spec_;
  const int64_t query_width = s.nope_dim + s.rope_dim;
  const Tensor latent = a.kv.Columns(0, s.kv_rank);
  const Tensor rope_key = a.kv.Columns(s.kv_rank, s.rope_dim);

  b.RmsNorm({.x = a.x, .w = &w.input_norm, .eps = s.norm_eps, .y = a.normed});
  if (s.q_rank > 0) {
    b.Linear({.x = a.normed, .w = &w.q_a, .y = a.q_latent});
    b.RmsNorm({.x = a.q_latent, .w = &w.q_a_norm, .eps = s.latent_norm_eps, .y = a.q_latent});
    b.Linear({.x = a.q_latent, .w = &w.q_b, .y = a.q});
  } else {
    b.Linear({.x = a.normed, .w = &w.q, .y = a.q});
  }
  b.Linear({.x = a.normed, .w = &w.kv_a, .y = a.kv});
  b.RmsNorm({.x = latent, .w = &w.kv_a_norm, .eps = s.latent_norm_eps, .y = latent});
  b.Rope({.x = a.q,
          .heads = s.heads,
          .head_width = query_width,
          .positions = positions_,
          .inverse_frequencies = rope_.inverse_frequencies,
          .magnitude = rope_.magnitude});
  b.Rope({.x = rope_key,
          .heads = 1,
          .head_width = s.rope_dim,
          .positions = positions_,
          .inverse_frequencies = rope_.inverse_frequencies,
          .magnitude = rope_.magnitude});
  b.AppendKv({.latent = latent, .rope_key = rope_key, .segments = segments});
  b.LatentAttention({.q = a.q,
                     .kv_b = &w.kv_b,
                     .heads = s.heads,
                     .nope_dim = s.nope_dim,
                     .rope_dim = s.rope_dim,
                     .value_dim = s.value_dim,
                     .kv_rank = s.kv_rank,
                     .scale = rope_.attention_scale,
                     .segments = segments,
                     .y = a.heads_out});
  b.Linear({.x = a.heads_out, .w = &w.o, .y = a.block_out});
  b.Add({.x = a.block_out, .y = a.x});
}

// One layer's second half: h + FFN(RMSNorm(h)), where FFN is dense, or shared experts plus the chosen routed
// ones.
void KimiK2::FeedForward(const LayerWeights& w, const Activations& a) {
  Backend& b = *backend_;
  const ModelSpec& s = spec_;

  b.RmsNorm({.x = a.x, .w = &w.post_attention_norm, .eps = s.norm_eps, .y = a.normed});
  if (w.gate.present()) {
    b.FeedForward({.x = a.normed, .weights = {&w.gate, &w.up, &w.down}, .y = a.block_out});
    b.Add({.x = a.block_out, .y = a.x});
  }
  if (!w.moe) return;
  b.Linear({.x = a.normed, .w = &w.router, .y = a.router, .full_precision = true});
  b.Router({.logits = a.router,
            .bias = &w.router_bias,
            .experts = s.experts,
            .chosen = s.chosen,
            .groups = s.groups,
            .top_groups = s.top_groups,
            .scoring = s.scoring,
            .routing = s.routing,
            .normalize = s.normalize_top_k,
            .routed_scaling = s.routed_scaling,
            .expert_ids = a.expert_ids,
            .expert_weights = a.expert_weights.data});
  b.RoutedExperts({.x = a.normed,
                   .expert_ids = a.expert_ids,
                   .expert_weights = a.expert_weights.data,
                   .chosen = s.chosen,
                   .experts = w.experts,
                   .y = a.x});
}

Status KimiK2::Trace(const Batch& batch, std::span<const Segment> segments, int64_t moe_layer,
                     const Activations& a) {
  const auto traced = [](const BatchPart& part) { return part.cache->trace() != nullptr; };
  if (std::none_of(batch.parts.begin(), batch.parts.end(), traced)) return {};
  // A device may not have run the router yet.
  K2_RETURN_IF_ERROR(backend_->Synchronize());
  for (size_t i = 0; i < segments.size(); ++i) {
    RoutingTrace* const trace = batch.parts[i].cache->trace();
    if (trace == nullptr) continue;
    const Segment& segment = segments[i];
    for (int64_t j = 0; j < segment.rows; ++j) {
      const int64_t row = segment.first_row + j;
      trace->Write(segment.first_position + j, moe_layer, a.expert_ids + row * spec_.chosen,
                   a.expert_weights.data + row * spec_.chosen);
    }
  }
  return {};
}

// Logits of the rows that want them. Parts whose logits lie one after the other in memory share one pass over
// the head, the widest matrix of the model. The norm gathers their rows: the host may not touch activations,
// which a device may not have computed yet.
void KimiK2::Head(const Batch& batch, std::span<const Segment> segments, const Activations& a) {
  const int64_t vocab = spec_.vocab;
  for (size_t i = 0; i < segments.size();) {
    const Tensor& logits = batch.parts[i].logits;
    int64_t rows = 0;
    for (; i < segments.size(); ++i) {
      const Tensor& next = batch.parts[i].logits;
      if (next.rows == 0) continue;
      if (next.data != logits.data + rows * vocab) break;
      const int64_t first = segments[i].first_row + segments[i].rows - next.rows;
      backend_->RmsNorm({.x = a.x.Rows(first, next.rows),
                         .w = &weights_->final_norm,
                         .eps = spec_.norm_eps,
                         .y = a.normed.Rows(rows, next.rows)});
      rows += next.rows;
    }
    if (rows == 0) continue;
    backend_->Linear(
        {.x = a.normed.Rows(rows), .w = &weights_->head, .y = {logits.data, rows, vocab, vocab}});
  }
}

Status KimiK2::Forward(const Batch& batch, const std::function<bool()>& keep_going) {
  ids_.clear();
  positions_.clear();
  std::vector<Segment> segments;
  for (const BatchPart& part : batch.parts) {
    const int64_t rows = static_cast<int64_t>(part.ids.size());
    segments.push_back({.first_row = static_cast<int64_t>(ids_.size()),
                        .rows = rows,
                        .first_position = part.cache->length(),
                        .form = part.form,
                        .cache = {}});
    ids_.insert(ids_.end(), part.ids.begin(), part.ids.end());
    for (int64_t i = 0; i < rows; ++i) positions_.push_back(part.cache->length() + i);
  }
  const int64_t tokens = static_cast<int64_t>(ids_.size());
  if (tokens > batch_tokens_)
    return Status(ErrorCode::kInternal, "Expected a batch within batchTokens, got a larger one");

  const Activations a = activations_.Rows(tokens);
  backend_->Embed({.ids = ids_, .table = &weights_->embed, .y = a.x});
  int64_t moe_layer = 0;
  for (size_t layer = 0; layer < weights_->layers.size(); ++layer) {
    if (!keep_going()) {
      // A device may still be at work on memory that the caller now gives back.
      K2_RETURN_IF_ERROR(backend_->Synchronize());
      return Status(ErrorCode::kAborted, "Expected the step to finish, got an abort");
    }
    for (size_t i = 0; i < segments.size(); ++i) {
      segments[i].cache = batch.parts[i].cache->Layer(static_cast<int64_t>(layer));
    }
    Attention(weights_->layers[layer], a, segments);
    FeedForward(weights_->layers[layer], a);
    if (weights_->layers[layer].moe) K2_RETURN_IF_ERROR(Trace(batch, segments, moe_layer++, a));
  }

  Head(batch, segments, a);
  K2_RETURN_IF_ERROR(backend_->Synchronize());
  return weights_->CheckFiles();
}

KimiK2::Activations KimiK2::Activations::Rows(int64_t n) const {
  return {.x = x.Rows(n),
          .normed = normed.Rows(n),
          .block_out = block_out.Rows(n),
          .q_latent = q_latent.Rows(n),
          .q = q.Rows(n),
          .kv = kv.Rows(n),
          .heads_out = heads_out.Rows(n),
          .router = router.Rows(n),
          .expert_weights = expert_weights.Rows(n),
          .expert_ids = expert_ids};
}

int64_t KimiK2::Layout(const ModelSpec& s, int64_t batch_tokens, float* memory, Activations& out) {
  int64_t used = 0;
  const auto take = [&](int64_t columns) {
    const Tensor tensor{memory == nullptr ? nullptr : memory + used, batch_tokens, columns, columns};
    used += (batch_tokens * columns + 15) / 16 * 16;  // every tensor starts on a cache line
    return tensor;
  };
  out.x = take(s.hidden);
  out.normed = take(s.hidden);
  out.block_out = take(s.hidden);
  out.q_latent = take(s.q_rank);
  out.q = take(s.heads * (s.nope_dim + s.rope_dim));
  out.kv = take(s.kv_rank + s.rope_dim);
  out.heads_out = take(s.heads * s.value_dim);
  out.router = take(s.experts);
  out.expert_weights = take(s.chosen);
  static_assert(sizeof(int32_t) == sizeof(float));
  out.expert_ids = reinterpret_cast<int32_t*>(take(s.chosen).data);
  return used * static_cast<int64_t>(sizeof(float));
}

int64_t KimiK2::ActivationBytes(const ModelSpec& spec, int64_t batch_tokens) {
  Activations unused;
  return Layout(spec, batch_tokens, nullptr, unused);
}

Result<std::unique_ptr<KimiK2>> KimiK2::Create(const ModelSpec& spec, std::unique_ptr<Weights> weights,
                                               std::unique_ptr<Backend> backend, int64_t batch_tokens) {
  std::unique_ptr<KimiK2> model(new KimiK2());
  model->spec_ = spec;
  model->rope_ = MakeRopeTable(spec);
  model->batch_tokens_ = batch_tokens;
  const BackendShapes shapes = spec.Shapes(batch_tokens);
  K2_RETURN_IF_ERROR(backend->Prepare(shapes));
  model->cache_bytes_per_token_ = backend->CacheBytesPerToken(shapes);
  Result<AlignedBuffer> memory =
      AlignedBuffer::Allocate(static_cast<size_t>(ActivationBytes(spec, batch_tokens)), "activations");
  if (!memory.ok()) return memory.status();
  model->activation_memory_ = std::move(memory.value());
  Layout(spec, batch_tokens, model->activation_memory_.as<float>(), model->activations_);
  model->weights_ = std::move(weights);
  model->backend_ = std::move(backend);
  return model;
}

}  // namespace k2
