// What k2_bench stands on: reads that read everything, statistics, and a gate that lets right numbers pass
// and wrong ones not.
#include <cmath>
#include <cstring>

#include "bench/gate.h"
#include "bench/options.h"
#include "bench/session_cache.h"
#include "check.h"
#include "conformance.h"

namespace k2::test {
namespace {

using bench::Activations;
using bench::Bench;
using bench::Latents;
using bench::Options;

TEST(measure_sum_reads_every_word) {
  std::vector<uint8_t> bytes(4096 + 64);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(i * 131 + i / 256);
  for (size_t offset : {0, 8, 24}) {
    for (size_t size : {0, 512, 1024, 4096}) {
      uint64_t expected = 0, word;
      for (size_t i = 0; i < size; i += 8) {
        std::memcpy(&word, &bytes[offset + i], 8);
        expected += word;
      }
      EXPECT(SumWords(&bytes[offset], size) == expected);
    }
  }
}

TEST(measure_arithmetic_is_done) {
  for (const Arithmetic& one : Arithmetics()) {
    EXPECT(one.loop(1) != one.loop(1000));
    EXPECT(FindArithmetic(one.name) == &one);
  }
  EXPECT(FindArithmetic("abacus") == nullptr);
}

TEST(measure_spread) {
  EXPECT(SpreadOf({3, 1, 2}).median == 2);
  const Spread even = SpreadOf({4, 1, 2, 3});
  EXPECT(even.median == 2.5 && even.least == 1 && even.greatest == 4);
}

TEST(measure_machine_has_every_rate) {
  const Result<MachineLimits> limits =
      MeasureMachine({.threads = 2, .buffer_bytes = 4 << 20, .repetitions = 1});
  EXPECT(limits.ok());
  if (!(limits.ok())) return;
  for (const char* name : {"read-2MiB-pages", "read-4KiB-pages", "read-mapped-file", "f32-portable"}) {
    for (int threads : {1, 2}) {
      bool is_there = false;
      for (const Rate& rate : limits.value().rates)
        is_there |= rate.name == name && rate.threads == threads && rate.value.median > 0;
      EXPECT(is_there);
    }
  }
}

std::unique_ptr<Bench> MakeBench() {
  Options options;
  options.is_quick = true;
  options.threads = 2;
  Result<std::unique_ptr<Bench>> made = Bench::Create(options);
  return made.ok() ? std::move(made.value()) : nullptr;
}

// Passes as it is; one number off by a tenth of the row's size is named.
template <typename Check>
void ExpectGate(const Check& check, Tensor y, int64_t column) {
  EXPECT(check().empty());
  float* const number = y.row(y.rows - 1) + column;
  double squares = 0;
  for (int64_t n = 0; n < y.columns; ++n) squares += double{y.row(y.rows - 1)[n]} * y.row(y.rows - 1)[n];
  const float right = *number;
  *number += 0.3f * static_cast<float>(std::sqrt(squares / static_cast<double>(y.columns)));
  EXPECT(check().rfind("Expected ", 0) == 0);
  *number = std::nanf("");
  EXPECT(!check().empty());
  *number = right;
  EXPECT(check().empty());
}

TEST(bench_gate_of_linears) {
  const std::unique_ptr<Bench> bench = MakeBench();
  EXPECT(bench != nullptr);
  if (!(bench != nullptr)) return;
  const Activations x(5, 512, 1), y(5, 128, 2);
  for (const bool full_precision : {false, true}) {
    const Weight w = full_precision ? bench->material().Bf16(128, 512) : bench->material().Int4(128, 512);
    const LinearParams p{.x = x.tensor(), .w = &w, .y = y.tensor(), .full_precision = full_precision};
    bench->backend().Linear(p);
    ExpectGate([&] { return CheckLinear(*bench, p); }, y.tensor(), 127);
  }
}

TEST(bench_gate_of_experts) {
  const std::unique_ptr<Bench> bench = MakeBench();
  EXPECT(bench != nullptr);
  if (!(bench != nullptr)) return;
  std::vector<Weight> weights;
  weights.reserve(9);
  std::vector<Expert> experts;
  for (int e = 0; e < 3; ++e) {
    weights.push_back(bench->material().Int4(128, 512));
    weights.push_back(bench->material().Int4(128, 512));
    weights.push_back(bench->material().Int4(512, 128));
    experts.push_back({&weights[weights.size() - 3], &weights[weights.size() - 2], &weights.back()});
  }
  const Activations x(2, 512, 1), y(2, 512, 2, 0);
  const int32_t ids[] = {0, 1, 0, 2};
  const float shares[] = {0.5f, 1.5f, 1, 0.25f};
  const RoutedExpertsParams p{.x = x.tensor(),
                              .expert_ids = ids,
                              .expert_weights = shares,
                              .chosen = 2,
                              .experts = experts,
                              .y = y.tensor()};
  bench->backend().RoutedExperts(p);
  ExpectGate([&] { return CheckExperts(*bench, p, 0); }, y.tensor(), 3);
  const FeedForwardParams dense{.x = x.tensor(), .weights = experts[1], .y = y.tensor()};
  bench->backend().FeedForward(dense);
  ExpectGate([&] { return CheckFeedForward(*bench, dense); }, y.tensor(), 3);
}

TEST(bench_gate_of_attention) {
  const std::unique_ptr<Bench> bench = MakeBench();
  EXPECT(bench != nullptr);
  if (!(bench != nullptr)) return;
  const ModelSpec& s = bench->spec();
  const Latents latents(s, 90, 5);
  Result<KvCache> cache = FilledCache(*bench, 1, latents, 80);
  EXPECT(cache.ok());
  if (!(cache.ok())) return;
  const Weight kv_b = bench->material().Bf16(s.heads * (s.nope_dim + s.value_dim), s.kv_rank);
  const Activations q(10, s.heads * (s.nope_dim + s.rope_dim), 6, 1, false), y(10, s.heads * s.value_dim, 7);
  for (const AttentionForm form : {AttentionForm::kAbsorbed, AttentionForm::kExpanded}) {
    const Segment segment{
        .first_row = 0, .rows = 10, .first_position = 80, .form = form, .cache = cache.value().Layer(0)};
    const LatentAttentionParams p{.q = q.tensor(),
                                  .kv_b = &kv_b,
                                  .heads = s.heads,
                                  .nope_dim = s.nope_dim,
                                  .rope_dim = s.rope_dim,
                                  .value_dim = s.value_dim,
                                  .kv_rank = s.kv_rank,
                                  .scale = 0.1,
                                  .segments = {&segment, 1},
                                  .y = y.tensor()};
    bench->backend().LatentAttention(p);
    ExpectGate(
        [&] {
          return CheckAttention(*bench, p, {latents.latent(), latents.rope_key()});
        },
        y.tensor(), (s.heads - 1) * s.value_dim + 2);
  }
}

TEST(bench_refuses_a_wrong_op) {
  const std::unique_ptr<Bench> bench = MakeBench();
  EXPECT(bench != nullptr);
  if (!(bench != nullptr)) return;
  const auto one = [&](const char* name, std::string wrong) {
    bench->Run({.name = name,
                .group = "group",
                .bytes = 64,
                .compute = [](int64_t) {},
                .reads =
                    [&](int64_t) {
                      return std::vector<MemoryPart>{{bench->material().Norm(32).data, 64}};
                    },
                .check = [wrong] { return wrong; }});
  };
  one("wrong", "Expected 1, got 2");
  one("right", "");
  EXPECT(bench->outcomes()[0].refusal == "Expected 1, got 2" && bench->outcomes()[0].repetitions == 0);
  EXPECT(bench->outcomes()[1].refusal.empty() && bench->outcomes()[1].repetitions >= 3);
}

TEST(bench_options) {
  const auto message = [](std::vector<const char*> words) {
    words.insert(words.begin(), "k2_bench");
    return bench::ReadOptions(static_cast<int>(words.size()), words.data()).status().message();
  };
  EXPECT(message({"--json", "--quick", "--threads", "2", "--filter", "x", "--pages", "file"}).empty());
  EXPECT(message({"--frob"}) == "Expected a flag (see --help) for k2_bench, got \"--frob\"");
  EXPECT(message({"--threads"}) == "Expected a value for --threads, got none");
  EXPECT(message({"--threads", "0"}) == "Expected a number of 1..1024 for --threads, got \"0\"");
  EXPECT(message({"--seconds", "1x"}) == "Expected a number of 0..1024 for --seconds, got \"1x\"");
  EXPECT(message({"--pages", "big"}) == "Expected huge, small or file for --pages, got \"big\"");
}

}  // namespace
}  // namespace k2::test
