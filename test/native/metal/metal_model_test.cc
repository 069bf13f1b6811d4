// A whole model on the emulated Metal backend, whose kernels run only when the step ends: numbers of the
// reference, the same bits in any company, and failures of the device at every call.
#include <cmath>

#include "check.h"
#include "emulated_device.h"
#include "metal/metal_backend.h"
#include "model/kimi_k2.h"
#include "ops/registry.h"
#include "tiny_model.h"

namespace k2::test {
namespace {

struct MetalModel {
  EmulatedDevice* device = nullptr;
  std::unique_ptr<KimiK2> model;

  MetalModel(const TinyModel& tiny, uint64_t seed) {
    auto made = std::make_unique<EmulatedDevice>(seed, When::kAtFinish);
    device = made.get();
    device->weights_last = true;
    Make(tiny, std::make_unique<metal::MetalBackend>(std::move(made)));
  }
  explicit MetalModel(const TinyModel& tiny) {
    Make(tiny, std::move(FindBackend("reference")->make({}).value()));
  }

  void Make(const TinyModel& tiny, std::unique_ptr<Backend> backend) {
    Result<std::unique_ptr<Weights>> weights =
        LoadWeights(tiny.spec, tiny.paths, tiny.rows, [](uint64_t, uint64_t) { return true; });
    Result<std::unique_ptr<KimiK2>> made =
        KimiK2::Create(tiny.spec, std::move(weights.value()), std::move(backend), 64);
    EXPECT(made.ok());
    if (made.ok()) model = std::move(made.value());
  }
};

struct Part {
  KvCache* cache;
  std::vector<int32_t> ids;
  int64_t logits;  // of the last so many ids
};

std::vector<int32_t> Ids(int64_t first, int64_t count) {
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < count; ++i) ids.push_back(static_cast<int32_t>((first + i) * 37 % 90));
  return ids;
}

// One step; the logits of all parts, in order. Nothing is committed after a failure.
Status Step(KimiK2& model, std::vector<Part> parts, std::vector<float>* logits) {
  const int64_t vocab = model.spec().vocab;
  int64_t rows = 0;
  for (const Part& part : parts) rows += part.logits;
  logits->assign(static_cast<size_t>(rows * vocab), NAN);
  Batch batch;
  float* next = logits->data();
  for (Part& part : parts) {
    K2_RETURN_IF_ERROR(part.cache->Reserve(static_cast<int64_t>(part.ids.size())));
    batch.parts.push_back(
        {part.cache, part.ids, AttentionForm::kAbsorbed, {next, part.logits, vocab, vocab}});
    next += part.logits * vocab;
  }
  K2_RETURN_IF_ERROR(model.Forward(batch, [] { return true; }));
  for (Part& part : parts) {
    part.cache->Commit(static_cast<int64_t>(part.ids.size()), AttentionForm::kAbsorbed);
  }
  return {};
}

// Two sessions: a step of both with several rows of logits each, then both decode.
std::vector<float> TwoSteps(KimiK2& model) {
  KvCache one = model.NewCache(), two = model.NewCache();
  std::vector<float> first, second;
  EXPECT(Step(model, {{&one, Ids(0, 20), 3}, {&two, Ids(40, 9), 2}}, &first).ok());
  EXPECT(Step(model, {{&one, Ids(20, 1), 1}, {&two, Ids(49, 1), 1}}, &second).ok());
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

TEST(metal_model_gives_the_logits_of_the_reference) {
  for (const Storage experts : {Storage::kInt4, Storage::kF8E4m3}) {
    const TinyModel tiny = MakeTinyModel(Storage::kBf16, experts);
    MetalModel metal(tiny, 1), reference(tiny);
    const std::vector<float> actual = TwoSteps(*metal.model), expected = TwoSteps(*reference.model);
    const size_t vocab = static_cast<size_t>(tiny.spec.vocab);
    EXPECT(actual.size() == 7 * vocab);
    for (size_t row = 0; row < 7; ++row) {
      double difference = 0, size = 0;
      for (size_t v = row * vocab; v < (row + 1) * vocab; ++v) {
        difference += std::pow(double{actual[v]} - expected[v], 2);
        size += std::pow(double{expected[v]}, 2);
      }
      // The cache rounds to 2^-9 in each of three layers, and rows of independent numbers would be off
      // by 1.4.
      EXPECT(std::sqrt(difference / size) < 0.02);
    }
  }
}

TEST(metal_model_gives_a_row_the_same_bits_in_any_company) {
  const TinyModel tiny = MakeTinyModel(Storage::kBf16, Storage::kInt4);
  MetalModel together(tiny, 1), again(tiny, 99), alone(tiny, 7);
  const std::vector<float> expected = TwoSteps(*together.model);
  EXPECT(TwoSteps(*again.model) == expected);

  // Token by token, one session after the other.
  const size_t vocab = static_cast<size_t>(tiny.spec.vocab);
  std::vector<float> logits[2];
  for (int s = 0; s < 2; ++s) {
    KvCache cache = alone.model->NewCache();
    const int64_t first = s == 0 ? 0 : 40, count = s == 0 ? 21 : 10;
    for (int64_t i = 0; i < count; ++i) {
      std::vector<float> row;
      EXPECT(Step(*alone.model, {{&cache, Ids(first + i, 1), 1}}, &row).ok());
      logits[s].insert(logits[s].end(), row.begin(), row.end());
    }
  }
  const auto expect = [&](size_t row, int session, size_t position) {
    const float* a = expected.data() + row * vocab;
    const float* b = logits[session].data() + position * vocab;
    EXPECT(std::equal(a, a + vocab, b));
  };
  for (size_t i = 0; i < 3; ++i) expect(i, 0, 17 + i);
  for (size_t i = 0; i < 2; ++i) expect(3 + i, 1, 7 + i);
  expect(5, 0, 20);
  expect(6, 1, 9);
}

TEST(metal_model_survives_a_device_that_fails_at_any_call) {
  const TinyModel tiny = MakeTinyModel(Storage::kBf16, Storage::kInt4);
  MetalModel metal(tiny, 1);
  KvCache warm = metal.model->NewCache();
  std::vector<float> expected, logits;
  EXPECT(Step(*metal.model, {{&warm, Ids(0, 5), 1}}, &expected).ok());
  int call = 1;
  for (; call < 4000; call += 61) {
    metal.device->failing_call = call;
    KvCache cache = metal.model->NewCache();
    const Status failed = Step(*metal.model, {{&cache, Ids(0, 5), 1}}, &logits);
    if (metal.device->failing_call > 0) break;  // the step has fewer calls
    EXPECT(failed.code() == ErrorCode::kUnavailable);
    EXPECT(Step(*metal.model, {{&cache, Ids(0, 5), 1}}, &logits).ok() && logits == expected);
  }
  EXPECT(call > 100 && call < 4000);
}

// The cache of an aborted step is gone when the next one ends.
TEST(metal_model_leaves_nothing_behind_an_abort) {
  const TinyModel tiny = MakeTinyModel(Storage::kBf16, Storage::kInt4);
  MetalModel metal(tiny, 1);
  std::vector<float> logits;
  for (int layers = 0; layers < 3; ++layers) {
    auto cache = std::make_unique<KvCache>(metal.model->NewCache());
    const std::vector<int32_t> ids = Ids(0, 5);
    EXPECT(cache->Reserve(5).ok());
    Batch batch;
    batch.parts.push_back({cache.get(), ids, AttentionForm::kAbsorbed, {nullptr, 0, 90, 90}});
    int left = layers;
    EXPECT(metal.model->Forward(batch, [&] { return left-- > 0; }).code() == ErrorCode::kAborted);
    cache = nullptr;
    KvCache next = metal.model->NewCache();
    EXPECT(Step(*metal.model, {{&next, Ids(0, 5), 1}}, &logits).ok());
  }
}

TEST(metal_backend_refuses_what_its_kernels_have_no_room_for) {
  BackendShapes shapes = {};
  shapes.hidden = shapes.widest_input = shapes.dense_width = shapes.expert_width = 64;
  shapes.heads = 1;
  shapes.kv_rank = shapes.nope_dim = shapes.rope_dim = shapes.value_dim = 8;
  shapes.experts = shapes.chosen = 4;
  shapes.batch_tokens = 4;
  const auto expect = [&](int64_t BackendShapes::*field, int64_t value, const char* message) {
    BackendShapes wrong = shapes;
    wrong.*field = value;
    const Status status = MakeEmulatedMetal(1, When::kAtFinish)->Prepare(wrong);
    EXPECT(status.code() == ErrorCode::kUnavailable && status.message() == message);
  };
  EXPECT(MakeEmulatedMetal(1, When::kAtFinish)->Prepare(shapes).ok());
  expect(&BackendShapes::kv_rank, 513, "Expected at most 512 for kv_lora_rank on device metal, got 513");
  expect(&BackendShapes::rope_dim, 66, "Expected at most 64 for qk_rope_head_dim on device metal, got 66");
  expect(&BackendShapes::experts, 1025,
         "Expected at most 1024 for n_routed_experts on device metal, got 1025");
  expect(&BackendShapes::chosen, 33, "Expected at most 32 for num_experts_per_tok on device metal, got 33");
  FailAllocationForTest(1);
  EXPECT(MakeEmulatedMetal(1, When::kAtFinish)->Prepare(shapes).code() == ErrorCode::kOutOfMemory);
  FailAllocationForTest(0);
}

}  // namespace
}  // namespace k2::test
