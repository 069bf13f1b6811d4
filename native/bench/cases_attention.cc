// Latent attention of one layer against the length of its context: decode of one and of several sessions, and
// prefill.
#include "bench/gate.h"
#include "bench/session_cache.h"
#include "engine/engine.h"

namespace k2::bench {
namespace {

struct Load {
  const char* kind;
  int64_t sessions, rows, context;  // rows of each session
};

void RunAttention(Bench& bench, const Load& load) {
  const ModelSpec& s = bench.spec();
  const std::string group = std::string("attention ") + load.kind;
  const std::string name =
      group + " T=" + std::to_string(load.sessions * load.rows) + " S=" + std::to_string(load.context);
  if (!bench.Wants(name)) return;
  const AttentionForm form =
      load.rows == 1 ? AttentionForm::kAbsorbed : ChooseForm(s, AttentionChoice::kAuto, load.rows);
  const int64_t kv_b_rows = s.heads * (s.nope_dim + s.value_dim);
  const int64_t row_bytes = bench.backend().CacheBytesPerToken(bench.shapes());
  const int64_t positions = load.context + load.rows;
  const int64_t bytes = load.sessions * positions * row_bytes + 2 * kv_b_rows * s.kv_rank;
  const Latents latents(s, positions, 41);

  struct Variant {
    Weight kv_b;
    std::vector<KvCache> caches;
    std::vector<Segment> segments;
  };
  std::vector<Variant> variants;
  for (int64_t n = std::min<int64_t>(bench.Variants(bytes), 16); n > 0; --n) {
    Variant& variant = variants.emplace_back();
    variant.kv_b = bench.material().Bf16(kv_b_rows, s.kv_rank);
    for (int64_t i = 0; i < load.sessions; ++i) {
      Result<KvCache> cache = FilledCache(bench, 1, latents, load.context);
      if (!cache.ok()) return bench.Refuse(name, cache.status().message());
      variant.caches.push_back(std::move(cache.value()));
      variant.segments.push_back({.first_row = i * load.rows,
                                  .rows = load.rows,
                                  .first_position = load.context,
                                  .form = form,
                                  .cache = variant.caches.back().Layer(0)});
    }
    for (size_t i = 0; i < variant.caches.size(); ++i) variant.segments[i].cache = variant.caches[i].Layer(0);
  }
  const int64_t rows = load.sessions * load.rows;
  const Activations q(rows, s.heads * (s.nope_dim + s.rope_dim), 43, 1, false),
      y(rows, s.heads * s.value_dim, 44);
  const auto variant = [&](int64_t run) -> const Variant& {
    return variants[static_cast<size_t>(run) % variants.size()];
  };
  const auto params = [&](int64_t run) {
    return LatentAttentionParams{.q = q.tensor(),
                                 .kv_b = &variant(run).kv_b,
                                 .heads = s.heads,
                                 .nope_dim = s.nope_dim,
                                 .rope_dim = s.rope_dim,
                                 .value_dim = s.value_dim,
                                 .kv_rank = s.kv_rank,
                                 .scale = MakeRopeTable(s).attention_scale,
                                 .segments = variant(run).segments,
                                 .y = y.tensor()};
  };
  bench.Run({.name = name,
             .group = group,
             .tokens = rows,
             .context = load.context,
             .bytes = static_cast<double>(bytes),
             .operations = AttentionOperations(s, load.sessions, load.rows, load.context, form),
             .compute = [&](int64_t run) { bench.backend().LatentAttention(params(run)); },
             .reads =
                 [&](int64_t run) {
                   std::vector<MemoryPart> parts;
                   AddParts(variant(run).kv_b, parts);
                   for (const Segment& segment : variant(run).segments) {
                     for (const uint8_t* page : segment.cache.pages)
                       parts.push_back({page, static_cast<size_t>(segment.cache.page_tokens * row_bytes)});
                   }
                   return parts;
                 },
             .check =
                 [&] {
                   return CheckAttention(bench, params(0), {latents.latent(), latents.rope_key()});
                 }});
}

}  // namespace

void RunAttentionCases(Bench& bench) {
  const Load true_loads[] = {
      {"decode", 1, 1, 1024},        {"decode", 1, 1, 8192},           {"decode", 1, 1, 32768},
      {"decode of 8", 8, 1, 1024},   {"decode of 8", 8, 1, 8192},      {"prefill of 128", 1, 128, 0},
      {"prefill of 512", 1, 512, 0}, {"prefill of 512", 1, 512, 1024}, {"prefill of 512", 1, 512, 8192}};
  const Load quick_loads[] = {{"decode", 1, 1, 100}, {"decode of 8", 8, 1, 70}, {"prefill of 32", 1, 32, 70}};
  if (bench.options().is_quick) {
    for (const Load& load : quick_loads) RunAttention(bench, load);
  } else {
    for (const Load& load : true_loads) RunAttention(bench, load);
  }
}

}  // namespace k2::bench
