#include "model/kimi_k2.h"

#include <algorithm>

namespace k2 {
namespace {

// With more rows a layer uses most of its experts, and there is nothing to guess.
constexpr int64_t kMostRowsToGuess = 8;
// Every call packs the activations of all rows once more. With so many rows for each expert that is at hand,
// that is a small part of the call.
constexpr int64_t kRowsPerExpertAtOnce = 64;

}  // namespace

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
Status KimiK2::FeedForward(size_t layer, const Activations& a, const std::function<bool()>& keep_going) {
  Backend& b = *backend_;
  const ModelSpec& s = spec_;
  const LayerWeights& w = weights_->layers[layer];

  b.RmsNorm({.x = a.x, .w = &w.post_attention_norm, .eps = s.norm_eps, .y = a.normed});
  if (w.gate.present()) {
    b.FeedForward({.x = a.normed, .weights = {&w.gate, &w.up, &w.down}, .y = a.block_out});
    b.Add({.x = a.block_out, .y = a.x});
  }
  if (!w.moe) return {};
  Route(w, s.chosen, a, a.expert_ids, a.expert_weights.data);
  if (store_ != nullptr) return StreamedExperts(layer, a, keep_going);
  b.RoutedExperts({.x = a.normed,
                   .expert_ids = a.expert_ids,
                   .expert_weights = a.expert_weights.data,
                   .chosen = s.chosen,
                   .experts = w.experts,
                   .y = a.x});
  return {};
}

// The `chosen` best experts of a layer for a.normed.
void KimiK2::Route(const LayerWeights& w, int64_t chosen, const Activations& a, int32_t* ids,
                   float* weights) {
  const ModelSpec& s = spec_;
  backend_->Linear({.x = a.normed, .w = &w.router, .y = a.router, .full_precision = true});
  backend_->Router({.logits = a.router,
                    .bias = &w.router_bias,
                    .experts = s.experts,
                    .chosen = chosen,
                    .groups = s.groups,
                    .top_groups = s.top_groups,
                    .scoring = s.scoring,
                    .routing = s.routing,
                    .normalize = s.normalize_top_k,
                    .routed_scaling = s.routed_scaling,
                    .expert_ids = ids,
                    .expert_weights = weights});
}

// The experts of a layer as they arrive. A range of ids follows the other, so every row adds its experts in
// the order, and to the bits, of one call.
Status KimiK2::StreamedExperts(size_t layer, const Activations& a, const std::function<bool()>& keep_going) {
  K2_RETURN_IF_ERROR(backend_->Synchronize());  // a device may not have run the router yet
  const int64_t rows = a.x.rows, moe_layer = static_cast<int64_t>(layer);
  store_->Begin(moe_layer, {a.expert_ids, static_cast<size_t>(rows * spec_.chosen)},
                1 + rows / kRowsPerExpertAtOnce);
  if (rows <= kMostRowsToGuess) GuessExperts(layer + 1, a);
  for (;;) {
    Result<ExpertStore::Round> round = store_->Next(keep_going);
    if (!round.ok()) return round.status();
    if (round.value().empty()) return {};
    backend_->RoutedExperts({.x = a.normed,
                             .expert_ids = a.expert_ids,
                             .expert_weights = a.expert_weights.data,
                             .chosen = spec_.chosen,
                             .experts = store_->experts(moe_layer),
                             .first_expert = round.value().first,
                             .end_expert = round.value().end,
                             .y = a.x});
    // The next round may give these experts' memory to others.
    K2_RETURN_IF_ERROR(backend_->Synchronize());
  }
}

// The residual stream changes slowly from layer to layer, so the next layer's router says already here, with
// the input of this one, some of what it will choose. Only the better half of its choice is worth reading.
void KimiK2::GuessExperts(size_t layer, const Activations& a) {
  if (layer == weights_->layers.size() || !weights_->layers[layer].moe) return;
  if (!store_->MayGuess(static_cast<int64_t>(layer))) return;
  const int64_t chosen = (spec_.chosen + 1) / 2;
  Route(weights_->layers[layer], chosen, a, guessed_ids_.data(), guessed_weights_.data());
  if (!backend_->Synchronize().ok()) return;
  store_->Guess(static_cast<int64_t>(layer), {guessed_ids_.data(), static_cast<size_t>(a.x.rows * chosen)});
}

Status KimiK2::Trace(const Batch& batch, std::span<const Segment> segments, int64_t moe_layer,
                     const Activations& a) {
  const auto traced = [](const BatchPart& part) { return part.cache->trace() != nullptr; };
  if (std::none_of(batch.parts.begin(), batch.parts.end(), traced)) return {};
  // A device may not have run the router yet, and a stopped step did not run it at all.
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

Status KimiK2::Forward(Batch& batch, const std::function<bool()>& keep_going) {
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
  backend_->BeginStep(&keep_going);
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
    K2_RETURN_IF_ERROR(FeedForward(layer, a, keep_going));
    if (weights_->layers[layer].moe) K2_RETURN_IF_ERROR(Trace(batch, segments, moe_layer++, a));
  }

  batch.writes_logits = true;
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
                                               std::unique_ptr<Backend> backend, int64_t batch_tokens,
                                               std::unique_ptr<ExpertStore> store) {
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
  model->guessed_ids_.resize(static_cast<size_t>(kMostRowsToGuess * spec.chosen));
  model->guessed_weights_.resize(model->guessed_ids_.size());
  model->weights_ = std::move(weights);
  model->store_ = std::move(store);
  model->backend_ = std::move(backend);
  return model;
}

}  // namespace k2
