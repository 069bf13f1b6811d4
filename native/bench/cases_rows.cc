// The ops that go over rows of activations: no weights to speak of, so what bounds them is reading and
// writing those rows, in whatever cache they lie, as they do between the large ops of a layer.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "bench/gate.h"
#include "bench/session_cache.h"

namespace k2::bench {
namespace {

// A case whose result is compared with the reference backend's, number by number, on its first and last row.
struct RowOp {
  const char* name;
  int64_t columns;  // of the output
  double bytes;     // of one row, read
  std::function<void(Backend&, Tensor y)> run;
  // Of the number at [row, column], given the reference's value.
  std::function<double(int64_t row, int64_t column, double value)> bound;
  std::vector<MemoryPart> reads;
};

void RunRowOp(Bench& bench, int64_t tokens, const RowOp& op) {
  const std::string group = std::string("rows ") + op.name;
  const std::string name = group + " T=" + std::to_string(tokens);
  const Activations y(tokens, op.columns, 61, 0);
  bench.Run({.name = name,
             .group = group,
             .tokens = tokens,
             .bytes = op.bytes * static_cast<double>(tokens),
             .compute = [&](int64_t) { op.run(bench.backend(), y.tensor()); },
             .reads = [&](int64_t) { return op.reads; },
             .check = [&]() -> std::string {
               const Activations expected(tokens, op.columns, 61, 0), actual(tokens, op.columns, 61, 0);
               op.run(bench.reference(), expected.tensor());
               op.run(bench.backend(), actual.tensor());
               std::vector<double> bound(static_cast<size_t>(op.columns));
               for (int64_t t : {int64_t{0}, tokens - 1}) {
                 for (int64_t n = 0; n < op.columns; ++n)
                   bound[static_cast<size_t>(n)] = op.bound(t, n, expected.tensor().row(t)[n]);
                 std::string wrong = CompareRow(actual.tensor().row(t), expected.tensor().row(t), bound,
                                                "y [" + std::to_string(t) + ", 0]");
                 if (!wrong.empty()) return wrong;
               }
               return {};
             }});
}

std::vector<MemoryPart> PartsOf(std::initializer_list<Tensor> tensors) {
  std::vector<MemoryPart> parts;
  for (const Tensor& x : tensors) {
    parts.push_back({reinterpret_cast<const uint8_t*>(x.data), static_cast<size_t>(4 * x.rows * x.columns)});
  }
  return parts;
}

double Relative(double value) { return 0x1p-20 * std::fabs(value) + 0x1p-120; }

void RunAppend(Bench& bench, int64_t tokens) {
  const ModelSpec& s = bench.spec();
  const std::string name = "rows append_kv T=" + std::to_string(tokens);
  if (!bench.Wants(name)) return;
  const Latents latents(s, tokens, 71);
  Result<KvCache> cache = FilledCache(bench, 1, latents, 0);
  if (!cache.ok()) return bench.Refuse(name, cache.status().message());
  const Segment segment{.first_row = 0,
                        .rows = tokens,
                        .first_position = 0,
                        .form = AttentionForm::kAbsorbed,
                        .cache = cache.value().Layer(0)};
  const Weight kv_b = bench.material().Bf16(s.heads * (s.nope_dim + s.value_dim), s.kv_rank);
  const Activations q(tokens, s.heads * (s.nope_dim + s.rope_dim), 73, 1, false),
      y(tokens, s.heads * s.value_dim, 74);
  bench.Run({.name = name,
             .group = "rows append_kv",
             .tokens = tokens,
             .bytes = 4.0 * static_cast<double>(tokens * (s.kv_rank + s.rope_dim)),
             .compute =
                 [&](int64_t) {
                   bench.backend().AppendKv({.latent = latents.latent(),
                                             .rope_key = latents.rope_key(),
                                             .segments = {&segment, 1}});
                 },
             .reads =
                 [&](int64_t) {
                   return PartsOf({latents.latent(), latents.rope_key()});
                 },
             // The bytes of a page are the backend's own; what attention makes of them is not.
             .check =
                 [&] {
                   const LatentAttentionParams p{.q = q.tensor(),
                                                 .kv_b = &kv_b,
                                                 .heads = s.heads,
                                                 .nope_dim = s.nope_dim,
                                                 .rope_dim = s.rope_dim,
                                                 .value_dim = s.value_dim,
                                                 .kv_rank = s.kv_rank,
                                                 .scale = MakeRopeTable(s).attention_scale,
                                                 .segments = {&segment, 1},
                                                 .y = y.tensor()};
                   bench.backend().LatentAttention(p);
                   return CheckAttention(bench, p, {latents.latent(), latents.rope_key()});
                 }});
}

void RunAll(Bench& bench, int64_t tokens) {
  const ModelSpec& s = bench.spec();
  const auto wants = [&](const char* op) {
    return bench.Wants(std::string("rows ") + op + " T=" + std::to_string(tokens));
  };
  const double row = 4.0 * static_cast<double>(s.hidden);
  const Activations x(tokens, s.hidden, 51), other(tokens, s.hidden, 52);
  const auto copy = [](const Activations& from, Tensor to) {
    std::memcpy(to.data, from.tensor().data, sizeof(float) * static_cast<size_t>(to.rows * to.columns));
  };
  if (wants("embed")) {
    const Weight table = bench.material().Bf16(s.vocab, s.hidden);
    std::vector<int32_t> ids;
    for (int64_t t = 0; t < tokens; ++t) ids.push_back(static_cast<int32_t>(7919 * (t + 1) % s.vocab));
    std::vector<MemoryPart> reads;
    for (int32_t id : ids) AddParts(RowsOf(table, id, 1), reads);
    RunRowOp(bench, tokens,
             {.name = "embed",
              .columns = s.hidden,
              .bytes = row / 2,
              .run = [&](Backend& b, Tensor y) { b.Embed({.ids = ids, .table = &table, .y = y}); },
              .bound = [](int64_t, int64_t, double) { return 0.0; },
              .reads = reads});
  }
  if (wants("rms_norm")) {
    const Weight w = bench.material().Norm(s.hidden);
    RunRowOp(
        bench, tokens,
        {.name = "rms_norm",
         .columns = s.hidden,
         .bytes = row,
         .run = [&](Backend& b, Tensor y) { b.RmsNorm({.x = x.tensor(), .w = &w, .eps = 1e-6, .y = y}); },
         .bound = [](int64_t, int64_t, double value) { return Relative(value); },
         .reads = PartsOf({x.tensor()})});
  }
  if (wants("rope")) {
    const int64_t width = s.nope_dim + s.rope_dim;
    const RopeTable table = MakeRopeTable(s);
    const Activations q(tokens, s.heads * width, 53);
    std::vector<int64_t> positions;
    for (int64_t t = 0; t < tokens; ++t) positions.push_back(1000 + t);
    // In place, so every run begins with a copy of the same rows; it is part of what is timed and read.
    RunRowOp(bench, tokens,
             {.name = "rope",
              .columns = s.heads * width,
              .bytes = 8.0 * static_cast<double>(s.heads * width),
              .run =
                  [&](Backend& b, Tensor y) {
                    copy(q, y);
                    b.Rope({.x = y,
                            .heads = s.heads,
                            .head_width = width,
                            .positions = positions,
                            .inverse_frequencies = table.inverse_frequencies,
                            .magnitude = table.magnitude});
                  },
              .bound =
                  [&](int64_t t, int64_t n, double) {
                    const int64_t in_head = n % width, pair = n - (in_head - s.nope_dim) % 2;
                    if (in_head < s.nope_dim) return 0.0;
                    const float* const numbers = q.tensor().row(t) + pair;
                    return 0x1p-22 * table.magnitude *
                           (std::fabs(double{numbers[0]}) + std::fabs(double{numbers[1]}));
                  },
              .reads = PartsOf({q.tensor(), q.tensor()})});
  }
  if (wants("swiglu")) {
    RunRowOp(
        bench, tokens,
        {.name = "swiglu",
         .columns = s.hidden,
         .bytes = 2 * row,
         .run = [&](Backend& b, Tensor y) { b.SwiGlu({.gate = x.tensor(), .up = other.tensor(), .y = y}); },
         .bound = [](int64_t, int64_t, double value) { return Relative(value); },
         .reads = PartsOf({x.tensor(), other.tensor()})});
  }
  if (wants("add")) {
    RunRowOp(bench, tokens,
             {.name = "add",
              .columns = s.hidden,
              .bytes = 3 * row,
              .run =
                  [&](Backend& b, Tensor y) {
                    copy(other, y);
                    b.Add({.x = x.tensor(), .y = y});
                  },
              .bound = [](int64_t, int64_t, double) { return 0.0; },
              .reads = PartsOf({x.tensor(), other.tensor(), other.tensor()})});
  }
  if (wants("router")) {
    const Activations logits(tokens, s.experts, 54);
    const std::vector<float> zeros(static_cast<size_t>(s.experts));
    const Weight bias{
        .rows = 1, .columns = s.experts, .data = reinterpret_cast<const uint8_t*>(zeros.data())};
    std::vector<int32_t> ids(static_cast<size_t>(tokens * s.chosen));
    std::vector<float> weights(ids.size());
    // Ids, then weights, as the columns of y.
    RunRowOp(bench, tokens,
             {.name = "router",
              .columns = 2 * s.chosen,
              .bytes = 4.0 * static_cast<double>(s.experts),
              .run =
                  [&](Backend& b, Tensor y) {
                    b.Router({.logits = logits.tensor(),
                              .bias = &bias,
                              .experts = s.experts,
                              .chosen = s.chosen,
                              .groups = 1,
                              .top_groups = 1,
                              .scoring = s.scoring,
                              .routing = s.routing,
                              .normalize = true,
                              .routed_scaling = s.routed_scaling,
                              .expert_ids = ids.data(),
                              .expert_weights = weights.data()});
                    for (int64_t t = 0; t < tokens; ++t) {
                      for (int64_t j = 0; j < s.chosen; ++j) {
                        y.row(t)[j] = static_cast<float>(ids[static_cast<size_t>(t * s.chosen + j)]);
                        y.row(t)[s.chosen + j] = weights[static_cast<size_t>(t * s.chosen + j)];
                      }
                    }
                  },
              .bound = [&](int64_t, int64_t n, double) { return n < s.chosen ? 0.0 : 4e-6; },
              .reads = PartsOf({logits.tensor()})});
  }
  RunAppend(bench, tokens);
}

}  // namespace

void RunRowCases(Bench& bench) {
  for (int64_t tokens : {int64_t{1}, bench.batch_tokens()}) RunAll(bench, tokens);
}

}  // namespace k2::bench
