// Linears as the layers use them, in BF16 and INT4, from one token to a whole batch.
#include <memory>

#include "bench/bench.h"
#include "bench/gate.h"

namespace k2::bench {
namespace {

struct Shape {
  const char* name;
  int64_t rows, columns;
  Storage storage;
  bool full_precision = false;
};

void RunLinear(Bench& bench, const Shape& shape, int64_t tokens) {
  const std::string group = std::string("linear ") + shape.name + " " + StorageName(shape.storage) + " " +
                            std::to_string(shape.rows) + "x" + std::to_string(shape.columns);
  const std::string name = group + " T=" + std::to_string(tokens);
  if (!bench.Wants(name)) return;
  const auto make = [&] {
    return shape.storage == Storage::kInt4 ? bench.material().Int4(shape.rows, shape.columns)
                                           : bench.material().Bf16(shape.rows, shape.columns);
  };
  std::vector<Weight> weights = {make()};
  const int64_t bytes = BytesOf(weights.front());
  for (int64_t n = bench.Variants(bytes); n > 1; --n) weights.push_back(make());
  const Activations x(tokens, shape.columns, 11), y(tokens, shape.rows, 12);
  const auto params = [&](int64_t run) {
    return LinearParams{.x = x.tensor(),
                        .w = &weights[static_cast<size_t>(run) % weights.size()],
                        .y = y.tensor(),
                        .full_precision = shape.full_precision};
  };
  bench.Run({.name = name,
             .group = group,
             .tokens = tokens,
             .bytes = static_cast<double>(bytes),
             .operations = 2.0 * static_cast<double>(tokens * shape.rows * shape.columns),
             .is_int4 = shape.storage == Storage::kInt4,
             .compute = [&](int64_t run) { bench.backend().Linear(params(run)); },
             .reads =
                 [&](int64_t run) {
                   std::vector<MemoryPart> parts;
                   AddParts(weights[static_cast<size_t>(run) % weights.size()], parts);
                   return parts;
                 },
             .check = [&] { return CheckLinear(bench, params(0)); }});
}

}  // namespace

void RunLinearCases(Bench& bench) {
  const ModelSpec& s = bench.spec();
  const Shape shapes[] = {
      {"q_a", s.q_rank, s.hidden, Storage::kBf16},
      {"q_b", s.heads * (s.nope_dim + s.rope_dim), s.q_rank, Storage::kBf16},
      {"kv_a", s.kv_rank + s.rope_dim, s.hidden, Storage::kBf16},
      {"o", s.hidden, s.heads * s.value_dim, Storage::kBf16},
      {"router", s.experts, s.hidden, Storage::kBf16, true},
      {"head", s.vocab, s.hidden, Storage::kBf16},
      {"gate", s.expert_width, s.hidden, Storage::kInt4},
      {"down", s.hidden, s.expert_width, Storage::kInt4},
  };
  for (const Shape& shape : shapes) {
    for (int64_t tokens : {1, 8, 32, 128, 512}) {
      if (tokens <= bench.batch_tokens()) RunLinear(bench, shape, tokens);
    }
  }
}

}  // namespace k2::bench
