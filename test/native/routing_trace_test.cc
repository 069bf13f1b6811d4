// The trace of the router: what stands in it is what the router's own logits say, for every row of a mixed
// batch; and it follows its timeline.
#include "model/routing_trace.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "check.h"
#include "engine/engine.h"
#include "model/kimi_k2.h"
#include "ops/registry.h"
#include "tiny_model.h"

namespace k2 {
namespace {

using test::MakeTinyModel;
using test::TinyModel;

// Passes everything on and keeps the logits that the router was given, one matrix a layer.
class ListeningBackend final : public Backend {
 public:
  ListeningBackend(std::unique_ptr<Backend> inner, std::vector<std::vector<float>>* logits)
      : inner_(std::move(inner)), logits_(logits) {}
  const char* name() const override { return inner_->name(); }
  std::string kernels() const override { return inner_->kernels(); }
  Status Prepare(const BackendShapes& s) override { return inner_->Prepare(s); }
  int64_t ScratchBytes(const BackendShapes& s) const override { return inner_->ScratchBytes(s); }
  int64_t CacheBytesPerToken(const BackendShapes& s) const override { return inner_->CacheBytesPerToken(s); }
  void Embed(const EmbedParams& p) override { inner_->Embed(p); }
  void RmsNorm(const RmsNormParams& p) override { inner_->RmsNorm(p); }
  void Linear(const LinearParams& p) override { inner_->Linear(p); }
  void Rope(const RopeParams& p) override { inner_->Rope(p); }
  void AppendKv(const AppendKvParams& p) override { inner_->AppendKv(p); }
  void LatentAttention(const LatentAttentionParams& p) override { inner_->LatentAttention(p); }
  void Router(const RouterParams& p) override {
    std::vector<float>& kept = logits_->emplace_back();
    for (int64_t t = 0; t < p.logits.rows; ++t)
      kept.insert(kept.end(), p.logits.row(t), p.logits.row(t) + p.logits.columns);
    inner_->Router(p);
  }
  void SwiGlu(const SwiGluParams& p) override { inner_->SwiGlu(p); }
  void Add(const AddParams& p) override { inner_->Add(p); }
  void FeedForward(const FeedForwardParams& p) override { inner_->FeedForward(p); }
  void RoutedExperts(const RoutedExpertsParams& p) override { inner_->RoutedExperts(p); }
  Status Synchronize() override { return inner_->Synchronize(); }

 private:
  std::unique_ptr<Backend> inner_;
  std::vector<std::vector<float>>* logits_;
};

// The biases of the router of a layer, straight from the file.
std::vector<float> ReadBias(const TinyModel& model, int64_t layer) {
  std::vector<float> bias(static_cast<size_t>(model.spec.experts));
  for (const WeightRow& row : model.rows) {
    if (row.slot != static_cast<double>(WeightSlot::kRouterBias) || row.layer != static_cast<double>(layer))
      continue;
    std::FILE* file = std::fopen(model.paths[0].c_str(), "rb");
    std::fseek(file, static_cast<long>(row.offset), SEEK_SET);
    EXPECT(std::fread(bias.data(), sizeof(float), bias.size(), file) == bias.size());
    std::fclose(file);
  }
  return bias;
}

// What the paper says of one row: the K largest of sigmoid + bias, weighed by their share of the sigmoids.
void ExpectRow(const ModelSpec& s, const float* logits, const std::vector<float>& bias,
               const uint16_t* experts, const float* weights) {
  std::vector<double> scores;
  for (int64_t e = 0; e < s.experts; ++e) scores.push_back(1 / (1 + std::exp(-double{logits[e]})));
  std::vector<uint16_t> order(scores.size());
  std::iota(order.begin(), order.end(), uint16_t{0});
  std::sort(order.begin(), order.end(),
            [&](uint16_t a, uint16_t b) { return scores[a] + bias[a] > scores[b] + bias[b]; });
  order.resize(static_cast<size_t>(s.chosen));
  std::sort(order.begin(), order.end());
  double sum = 0;
  for (uint16_t e : order) sum += scores[e];
  for (int64_t j = 0; j < s.chosen; ++j) {
    EXPECT(experts[j] == order[static_cast<size_t>(j)]);
    EXPECT_NEAR(weights[j], scores[order[static_cast<size_t>(j)]] / sum * s.routed_scaling, 1e-6);
  }
}

// Of one timeline, as it is read.
struct ReadTrace {
  std::vector<uint16_t> experts;
  std::vector<float> weights;
  std::vector<uint8_t> known;
};

ReadTrace Read(const RoutingTrace& trace, int64_t first, int64_t count) {
  const size_t numbers = static_cast<size_t>(count * trace.width());
  ReadTrace read{std::vector<uint16_t>(numbers, 7), std::vector<float>(numbers, 7),
                 std::vector<uint8_t>(static_cast<size_t>(count), 7)};
  trace.Read(first, {read.experts.data(), read.weights.data(), read.known.data(), count});
  return read;
}

// Marks position `p` of a trace of 1 layer and K = 1 with `expert`.
void Put(RoutingTrace& trace, int64_t p, int32_t expert) {
  EXPECT(trace.Reserve(p, 1).ok());
  const float weight = static_cast<float>(expert) / 2;
  trace.Write(p, 0, &expert, &weight);
  trace.Commit(p, 1);
}

}  // namespace

TEST(RoutingTraceHoldsWhatTheRoutersLogitsSay) {
  for (const char* device : {"cpu", "reference"}) {
    const TinyModel tiny = MakeTinyModel(Storage::kBf16, Storage::kInt4);
    const ModelSpec& s = tiny.spec;
    std::vector<std::vector<float>> logits;
    Result<std::unique_ptr<Weights>> weights =
        LoadWeights(s, tiny.paths, tiny.rows, [](uint64_t, uint64_t) { return true; });
    Result<std::unique_ptr<Backend>> backend = FindBackend(device)->make({.threads = 2, .isa = {}});
    EXPECT(weights.ok() && backend.ok());
    Result<std::unique_ptr<KimiK2>> model =
        KimiK2::Create(s, std::move(weights.value()),
                       std::make_unique<ListeningBackend>(std::move(backend.value()), &logits), 100);
    EXPECT(model.ok());

    // One timeline at position 60, whose part goes over the end of a page, one without a trace, one that is
    // new.
    KvCache old = model.value()->NewCache(), untraced = model.value()->NewCache(),
            fresh = model.value()->NewCache();
    old.KeepTrace(model.value()->NewTrace());
    fresh.KeepTrace(model.value()->NewTrace());
    std::vector<int32_t> ids(90);
    for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(i * 37 % 90);
    const Tensor none{nullptr, 0, s.vocab, s.vocab};
    const auto forward = [&](std::vector<BatchPart> parts) {
      for (BatchPart& part : parts) EXPECT(part.cache->Reserve(static_cast<int64_t>(part.ids.size())).ok());
      logits.clear();
      Batch batch{.parts = parts};
      EXPECT(model.value()->Forward(batch, [] { return true; }).ok());
      for (BatchPart& part : parts) part.cache->Commit(static_cast<int64_t>(part.ids.size()), part.form);
    };
    const std::span<const int32_t> all(ids);
    forward({{&old, all.first(60), AttentionForm::kAbsorbed, none}});
    const std::vector<std::vector<float>> before = logits;
    forward({{&old, all.subspan(60, 9), AttentionForm::kAbsorbed, none},
             {&untraced, all.subspan(3, 5), AttentionForm::kAbsorbed, none},
             {&fresh, all.subspan(40, 4), AttentionForm::kExpanded, none}});

    const ReadTrace first = Read(*old.trace(), 0, 69), last = Read(*fresh.trace(), 0, 4);
    EXPECT(untraced.trace() == nullptr);
    EXPECT(before.size() == 2 && logits.size() == 2 && s.MoeLayers() == 2);
    for (size_t layer = 0; layer < 2; ++layer) {
      const std::vector<float> bias = ReadBias(tiny, static_cast<int64_t>(layer) + s.first_dense_layers);
      const auto expect = [&](const ReadTrace& read, size_t position, const std::vector<float>& from,
                              size_t row) {
        const size_t at = (position * 2 + layer) * static_cast<size_t>(s.chosen);
        EXPECT(read.known[position] == 1);
        ExpectRow(s, from.data() + row * static_cast<size_t>(s.experts), bias, &read.experts[at],
                  &read.weights[at]);
      };
      for (size_t p = 0; p < 60; ++p) expect(first, p, before[layer], p);
      for (size_t p = 60; p < 69; ++p) expect(first, p, logits[layer], p - 60);
      for (size_t p = 0; p < 4; ++p) expect(last, p, logits[layer], 14 + p);
    }
  }
}

TEST(RoutingTraceKnowsOnlyWhatWasCommitted) {
  RoutingTrace trace(1, 1);
  Put(trace, 3, 30);
  Put(trace, 200, 40);
  // A step that failed.
  EXPECT(trace.Reserve(201, 1).ok());
  const int32_t expert = 9;
  const float weight = 1;
  trace.Write(201, 0, &expert, &weight);
  const ReadTrace read = Read(trace, 0, 300);
  for (size_t p = 0; p < 300; ++p) {
    const bool known = p == 3 || p == 200;
    EXPECT(read.known[p] == (known ? 1 : 0));
    EXPECT(read.experts[p] == (p == 3 ? 30 : p == 200 ? 40 : 0xffff));
    EXPECT(read.weights[p] == (p == 3 ? 15.0f : p == 200 ? 20.0f : 0.0f));
  }
}

TEST(RoutingTraceOfAForkIsItsOwn) {
  const size_t before = AllocatedBytes();
  {
    RoutingTrace trace(1, 1);
    for (int32_t p = 0; p < 100; ++p) Put(trace, p, p);
    const size_t held = AllocatedBytes();
    RoutingTrace fork = trace;
    EXPECT(AllocatedBytes() == held);
    trace.Truncate(70);
    EXPECT(Read(fork, 0, 100).known == std::vector<uint8_t>(100, 1));
    Put(trace, 70, 500);
    const ReadTrace one = Read(trace, 60, 40), two = Read(fork, 60, 40);
    EXPECT(one.experts[9] == 69 && one.experts[10] == 500 && one.known[11] == 0);
    for (size_t i = 0; i < 40; ++i) EXPECT(two.experts[i] == 60 + i);
    // At the end of a page nothing of the next one is left, and its memory is given back.
    fork.Truncate(64);
    EXPECT(AllocatedBytes() == held);
    Put(fork, 127, 1);
    const ReadTrace again = Read(fork, 63, 65);
    EXPECT(again.known[0] == 1 && again.known[64] == 1);
    EXPECT(std::count(again.known.begin(), again.known.end(), 1) == 2);
  }
  EXPECT(AllocatedBytes() == before);
}

TEST(RoutingTraceNeedsExperts) {
  TinyModel dense = MakeTinyModel(Storage::kBf16, Storage::kBf16);
  dense.spec.first_dense_layers = dense.spec.layers;
  const Result<std::shared_ptr<Engine>> engine =
      Engine::Create(dense.spec, {.device = "cpu"}, dense.paths, dense.rows);
  EXPECT(engine.value()->CreateSession(true).status().code() == ErrorCode::kInvalidArgument);
}

TEST(RoutingTraceSurvivesAFailedAllocation) {
  RoutingTrace trace(1, 1);
  for (int32_t p = 0; p < 70; ++p) Put(trace, p, p);
  const RoutingTrace fork = trace;
  FailAllocationForTest(2);
  EXPECT(trace.Reserve(70, 100).code() == ErrorCode::kOutOfMemory);
  FailAllocationForTest(0);
  const ReadTrace read = Read(trace, 0, 180);
  for (size_t p = 0; p < 180; ++p) {
    EXPECT(read.known[p] == (p < 70 ? 1 : 0));
    EXPECT(read.experts[p] == (p < 70 ? p : 0xffff));
  }
}

}  // namespace k2
