// Whole layers through the model's own forward pass: one dense or one MoE layer, decode of one and of several
// sessions, and prefill.
#include <algorithm>
#include <cmath>

#include "base/rng.h"
#include "bench/session_cache.h"
#include "engine/engine.h"
#include "model/kimi_k2.h"

namespace k2::bench {
namespace {

struct Load {
  int64_t sessions, rows, context;  // rows of each session
};

// One layer, a small vocabulary, and weights from the arenas; the same ones after every Rewind.
std::unique_ptr<Weights> MakeWeights(Material& material, const ModelSpec& s) {
  auto weights = std::make_unique<Weights>();
  material.Rewind();
  weights->embed = material.Bf16(s.vocab, s.hidden);
  weights->head = material.Bf16(s.vocab, s.hidden);
  weights->final_norm = material.Norm(s.hidden);
  LayerWeights& w = weights->layers.emplace_back();
  w.input_norm = material.Norm(s.hidden);
  w.post_attention_norm = material.Norm(s.hidden);
  w.q_a = material.Bf16(s.q_rank, s.hidden);
  w.q_a_norm = material.Norm(s.q_rank);
  w.q_b = material.Bf16(s.heads * (s.nope_dim + s.rope_dim), s.q_rank);
  w.kv_a = material.Bf16(s.kv_rank + s.rope_dim, s.hidden);
  w.kv_a_norm = material.Norm(s.kv_rank);
  w.kv_b = material.Bf16(s.heads * (s.nope_dim + s.value_dim), s.kv_rank);
  w.o = material.Bf16(s.hidden, s.heads * s.value_dim);
  w.moe = s.IsMoeLayer(0);
  const int64_t width = w.moe ? s.shared_width() : s.dense_width;
  w.gate = material.Bf16(width, s.hidden);
  w.up = material.Bf16(width, s.hidden);
  w.down = material.Bf16(s.hidden, width);
  if (!w.moe) return weights;
  w.router = material.Bf16(s.experts, s.hidden);
  for (int64_t e = 0; e < s.experts; ++e) {
    w.expert_weights.push_back(material.Int4(s.expert_width, s.hidden));
    w.expert_weights.push_back(material.Int4(s.expert_width, s.hidden));
    w.expert_weights.push_back(material.Int4(s.hidden, s.expert_width));
  }
  for (size_t e = 0; e < static_cast<size_t>(s.experts); ++e)
    w.experts.push_back(
        {&w.expert_weights[3 * e], &w.expert_weights[3 * e + 1], &w.expert_weights[3 * e + 2]});
  return weights;
}

std::vector<const Weight*> AlwaysRead(const LayerWeights& w) {
  std::vector<const Weight*> all = {&w.q_a, &w.q_b, &w.kv_a, &w.kv_b, &w.o, &w.gate, &w.up, &w.down};
  if (w.moe) all.push_back(&w.router);
  return all;
}

class LayerModel {
 public:
  static Result<std::unique_ptr<LayerModel>> Create(Bench& bench, bool is_moe) {
    std::unique_ptr<LayerModel> model(new LayerModel());
    model->spec = bench.spec();
    model->spec.layers = 1;
    model->spec.first_dense_layers = is_moe ? 0 : 1;
    const auto make = [&](const char* name, const BackendOptions& options,
                          std::unique_ptr<KimiK2>& out) -> Status {
      Result<std::unique_ptr<Backend>> backend = FindBackend(name)->make(options);
      if (!backend.ok()) return backend.status();
      std::unique_ptr<Weights> weights = MakeWeights(bench.material(), model->spec);
      if (out == nullptr && std::string(name) == "cpu") model->weights = weights.get();
      Result<std::unique_ptr<KimiK2>> made =
          KimiK2::Create(model->spec, std::move(weights), std::move(backend.value()), bench.batch_tokens());
      if (made.ok()) out = std::move(made.value());
      return made.status();
    };
    K2_RETURN_IF_ERROR(make("cpu",
                            {.threads = bench.options().threads,
                             .isa = bench.options().isa,
                             .activations = bench.options().activations},
                            model->fast));
    K2_RETURN_IF_ERROR(make("reference", {}, model->exact));
    return model;
  }

  ModelSpec spec;
  const Weights* weights = nullptr;  // of `fast`
  std::unique_ptr<KimiK2> fast, exact;
};

// Rounding to 16 bits may swap two experts of nearly equal score, and then a token has other numbers: so most
// of some tokens must be near, each by itself.
std::string CheckLayer(LayerModel& model) {
  constexpr int kTokens = 3;
  constexpr double kNear = 0.03;
  const int64_t vocab = model.spec.vocab;
  std::vector<double> errors;
  for (int32_t token = 0; token < kTokens; ++token) {
    std::vector<float> logits[2];
    KimiK2* const models[] = {model.fast.get(), model.exact.get()};
    for (int i = 0; i < 2; ++i) {
      logits[i].assign(static_cast<size_t>(vocab), NAN);
      KvCache cache = models[i]->NewCache();
      const int32_t ids[] = {token, token + 100};
      Status status = cache.Reserve(2);
      Batch batch;
      batch.parts.push_back({.cache = &cache,
                             .ids = ids,
                             .form = AttentionForm::kAbsorbed,
                             .logits = {logits[i].data(), 1, vocab, vocab}});
      if (status.ok()) status = models[i]->Forward(batch, [] { return true; });
      if (!status.ok()) return status.message();
    }
    double difference = 0, size = 0;
    for (size_t v = 0; v < logits[0].size(); ++v) {
      difference += std::pow(double{logits[0][v]} - logits[1][v], 2);
      size += std::pow(double{logits[1][v]}, 2);
    }
    errors.push_back(std::sqrt(difference / size));
  }
  const double error = SpreadOf(errors).median;
  if (error <= kNear) return {};
  return "Expected logits within " + std::to_string(kNear) + " of the reference's for most of " +
         std::to_string(kTokens) + " tokens, got " + std::to_string(error);
}

void RunLayer(Bench& bench, const char* kind, LayerModel& model, const std::string& name, const Load& load) {
  const ModelSpec& s = model.spec;
  const int64_t rows = load.sessions * load.rows;
  const Latents latents(s, load.context + load.rows, 81);
  std::vector<KvCache> caches;
  for (int64_t i = 0; i < load.sessions; ++i) {
    Result<KvCache> cache = FilledCache(bench, 1, latents, load.context);
    if (!cache.ok()) return bench.Refuse(name, cache.status().message());
    caches.push_back(std::move(cache.value()));
  }
  const AttentionForm form =
      load.rows == 1 ? AttentionForm::kAbsorbed : ChooseForm(s, AttentionChoice::kAuto, load.rows);
  std::vector<int32_t> ids(static_cast<size_t>(rows));
  uint64_t draws = 0;
  Status failed;
  const auto compute = [&](int64_t) {
    for (int32_t& id : ids) id = static_cast<int32_t>(UniformAt(9, draws++) * static_cast<double>(s.vocab));
    Batch batch;
    for (size_t i = 0; i < caches.size(); ++i) {
      batch.parts.push_back(
          {.cache = &caches[i],
           .ids = {ids.data() + static_cast<int64_t>(i) * load.rows, static_cast<size_t>(load.rows)},
           .form = form,
           .logits = {}});
    }
    if (Status status = model.fast->Forward(batch, [] { return true; }); !status.ok()) failed = status;
  };

  const LayerWeights& w = model.weights->layers.front();
  double weight_numbers = 0, bytes = 0, expert_bytes = 0, touched = 0;
  for (const Weight* weight : AlwaysRead(w)) {
    bytes += static_cast<double>(BytesOf(*weight));
    // kv_b is multiplied inside attention, in another way for each form.
    if (weight != &w.kv_b) weight_numbers += static_cast<double>(weight->rows * weight->columns);
  }
  if (w.moe) {
    for (int i = 0; i < 3; ++i)
      expert_bytes += static_cast<double>(BytesOf(w.expert_weights[static_cast<size_t>(i)]));
    const double share = static_cast<double>(s.chosen) / static_cast<double>(s.experts);
    // Tokens choose independently; how many experts they touch together is expected, not counted.
    touched = static_cast<double>(s.experts) * (1 - std::pow(1 - share, static_cast<double>(rows)));
    weight_numbers += static_cast<double>(3 * s.chosen * s.hidden * s.expert_width);
    bytes += touched * expert_bytes;
  }
  bytes +=
      static_cast<double>(load.sessions * load.context * bench.backend().CacheBytesPerToken(bench.shapes()));
  bench.Run({.name = name,
             .group = std::string("layer ") + kind,
             .tokens = rows,
             .context = load.context,
             .bytes = bytes,
             .operations = 2 * static_cast<double>(rows) * weight_numbers +
                           AttentionOperations(s, load.sessions, load.rows, load.context, form),
             .compute = compute,
             .reads =
                 [&](int64_t run) {
                   std::vector<MemoryPart> parts;
                   for (const Weight* weight : AlwaysRead(w)) AddParts(*weight, parts);
                   for (int64_t e = 0; e < static_cast<int64_t>(touched); ++e) {
                     const int64_t expert = (run * 8 + e) % s.experts;
                     for (int64_t i = 0; i < 3; ++i)
                       AddParts(w.expert_weights[static_cast<size_t>(3 * expert + i)], parts);
                   }
                   return parts;
                 },
             .check = [&] { return failed.ok() ? CheckLayer(model) : failed.message(); }});
}

void RunKind(Bench& bench, const char* kind, bool is_moe) {
  const Load true_loads[] = {{1, 1, 1024}, {1, 1, 8192}, {1, 1, 32768}, {8, 1, 1024},  {32, 1, 1024},
                             {1, 32, 0},   {1, 128, 0},  {1, 512, 0},   {1, 512, 8192}};
  const Load quick_loads[] = {{1, 1, 100}, {8, 1, 70}, {1, 32, 0}};
  std::unique_ptr<LayerModel> model;
  const auto run = [&](const Load& load) {
    const std::string what = load.rows == 1 ? " decode" : " prefill";
    const std::string name = std::string("layer ") + kind + what +
                             " T=" + std::to_string(load.sessions * load.rows) +
                             " S=" + std::to_string(load.context);
    if (!bench.Wants(name)) return;
    if (model == nullptr) {
      Result<std::unique_ptr<LayerModel>> made = LayerModel::Create(bench, is_moe);
      if (!made.ok()) return bench.Refuse(name, made.status().message());
      model = std::move(made.value());
    }
    RunLayer(bench, (kind + what).c_str(), *model, name, load);
  };
  if (bench.options().is_quick) {
    for (const Load& load : quick_loads) run(load);
  } else {
    for (const Load& load : true_loads) run(load);
  }
}

}  // namespace

void RunLayerCases(Bench& bench) {
  RunKind(bench, "moe", true);
  RunKind(bench, "dense", false);
}

}  // namespace k2::bench
