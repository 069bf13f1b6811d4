// Feed-forwards: the chosen of many INT4 experts, and the shared and dense ones in BF16.
#include <algorithm>
#include <set>

#include "base/rng.h"
#include "bench/bench.h"
#include "bench/gate.h"

namespace k2::bench {
namespace {

// Some rounds of choices, so that the next round's experts are others. Experts of a round are random, as
// those of tokens of different sessions are.
struct Choices {
  Choices(int64_t rounds, int64_t tokens, int64_t experts, int64_t chosen) {
    for (int64_t round = 0; round < rounds; ++round) {
      std::vector<int32_t>& ids = all.emplace_back();
      std::set<int32_t> touched;
      for (int64_t t = 0; t < tokens; ++t) {
        std::set<int32_t> row;
        while (static_cast<int64_t>(row.size()) < chosen)
          row.insert(static_cast<int32_t>(UniformAt(5, draws++) * static_cast<double>(experts)));
        ids.insert(ids.end(), row.begin(), row.end());
        touched.insert(row.begin(), row.end());
      }
      distinct.emplace_back(touched.begin(), touched.end());
      mean_distinct += static_cast<double>(touched.size()) / static_cast<double>(rounds);
    }
  }

  uint64_t draws = 0;
  std::vector<std::vector<int32_t>> all, distinct;
  double mean_distinct = 0;
};

void RunRouted(Bench& bench, int64_t tokens) {
  const ModelSpec& s = bench.spec();
  const std::string group = "experts INT4 " + std::to_string(s.chosen) + " of " + std::to_string(s.experts);
  const std::string name = group + " T=" + std::to_string(tokens);
  if (!bench.Wants(name)) return;
  std::vector<Weight> weights;
  std::vector<Expert> experts;
  weights.reserve(static_cast<size_t>(3 * s.experts));
  // The arena holds some of the experts; others are the same bytes again, far away in the order of ids.
  for (int64_t e = 0; e < s.experts; ++e) {
    weights.push_back(bench.material().Int4(s.expert_width, s.hidden));
    weights.push_back(bench.material().Int4(s.expert_width, s.hidden));
    weights.push_back(bench.material().Int4(s.hidden, s.expert_width));
    experts.push_back({&weights[weights.size() - 3], &weights[weights.size() - 2], &weights.back()});
  }
  const int64_t expert_bytes = BytesOf(weights[0]) + BytesOf(weights[1]) + BytesOf(weights[2]);
  const Choices choices(tokens == 1 ? 16 : 4, tokens, s.experts, s.chosen);
  const Activations x(tokens, s.hidden, 21), y(tokens, s.hidden, 22, 0);
  const std::vector<float> shares(static_cast<size_t>(tokens * s.chosen), 0.35f);
  const auto round = [&](int64_t run) { return static_cast<size_t>(run) % choices.all.size(); };
  const auto params = [&](int64_t run) {
    return RoutedExpertsParams{.x = x.tensor(),
                               .expert_ids = choices.all[round(run)].data(),
                               .expert_weights = shares.data(),
                               .chosen = s.chosen,
                               .experts = experts,
                               .y = y.tensor()};
  };
  bench.Run({.name = name,
             .group = group,
             .tokens = tokens,
             .bytes = choices.mean_distinct * static_cast<double>(expert_bytes),
             .operations = 6.0 * static_cast<double>(tokens * s.chosen * s.hidden * s.expert_width),
             .is_int4 = true,
             .compute = [&](int64_t run) { bench.backend().RoutedExperts(params(run)); },
             .reads =
                 [&](int64_t run) {
                   std::vector<MemoryPart> parts;
                   for (int32_t id : choices.distinct[round(run)]) {
                     const Expert& expert = experts[static_cast<size_t>(id)];
                     for (const Weight* weight : {expert.gate, expert.up, expert.down})
                       AddParts(*weight, parts);
                   }
                   return parts;
                 },
             .check = [&] { return CheckExperts(bench, params(0), 0); }});
}

void RunPlain(Bench& bench, const char* kind, int64_t width, int64_t tokens) {
  const ModelSpec& s = bench.spec();
  const std::string group = std::string("feed-forward ") + kind + " BF16 " + std::to_string(width);
  const std::string name = group + " T=" + std::to_string(tokens);
  if (!bench.Wants(name)) return;
  struct Block {
    Weight gate, up, down;
  };
  std::vector<Block> blocks;
  const int64_t bytes = 6 * width * s.hidden;
  for (int64_t n = bench.Variants(bytes); n > 0; --n) {
    blocks.push_back({bench.material().Bf16(width, s.hidden), bench.material().Bf16(width, s.hidden),
                      bench.material().Bf16(s.hidden, width)});
  }
  const Activations x(tokens, s.hidden, 31), y(tokens, s.hidden, 32);
  const auto block = [&](int64_t run) -> const Block& {
    return blocks[static_cast<size_t>(run) % blocks.size()];
  };
  const auto params = [&](int64_t run) {
    const Block& b = block(run);
    return FeedForwardParams{.x = x.tensor(), .weights = {&b.gate, &b.up, &b.down}, .y = y.tensor()};
  };
  bench.Run({.name = name,
             .group = group,
             .tokens = tokens,
             .bytes = static_cast<double>(bytes),
             .operations = 6.0 * static_cast<double>(tokens * s.hidden * width),
             .compute = [&](int64_t run) { bench.backend().FeedForward(params(run)); },
             .reads =
                 [&](int64_t run) {
                   std::vector<MemoryPart> parts;
                   for (const Weight* weight : {&block(run).gate, &block(run).up, &block(run).down})
                     AddParts(*weight, parts);
                   return parts;
                 },
             .check = [&] { return CheckFeedForward(bench, params(0)); }});
}

}  // namespace

void RunExpertCases(Bench& bench) {
  const ModelSpec& s = bench.spec();
  for (int64_t tokens : {1, 8, 32, 128, 512}) {
    if (tokens > bench.batch_tokens()) continue;
    RunRouted(bench, tokens);
    RunPlain(bench, "shared", s.shared_width(), tokens);
    RunPlain(bench, "dense", s.dense_width, tokens);
  }
}

}  // namespace k2::bench
