// A whole model on the emulated Metal backend, whose kernels run only when the step ends: numbers of the
// reference, the same bits in any company, and failures of the device at every call.
#include "check.h"
#include "emulated_device.h"
#include "gpu/model_steps.h"
#include "metal/metal_backend.h"
#include "ops/registry.h"

namespace k2::test {
namespace {

struct MetalModel {
  EmulatedDevice* device = nullptr;
  std::unique_ptr<KimiK2> model;

  MetalModel(const TinyModel& tiny, uint64_t seed) {
    auto made = std::make_unique<EmulatedDevice>(seed, When::kAtFinish);
    device = made.get();
    device->weights_last = true;
    model = MakeModelOn(tiny, std::make_unique<metal::MetalBackend>(std::move(made)));
  }
  explicit MetalModel(const TinyModel& tiny) {
    model = MakeModelOn(tiny, std::move(FindBackend("reference")->make({}).value()));
  }
};

TEST(metal_model_gives_the_logits_of_the_reference) {
  for (const Storage experts : {Storage::kInt4, Storage::kF8E4m3}) {
    const TinyModel tiny = MakeTinyModel(Storage::kBf16, experts);
    MetalModel metal(tiny, 1), reference(tiny);
    const std::vector<float> actual = TwoSteps(*metal.model), expected = TwoSteps(*reference.model);
    EXPECT(actual.size() == expected.size());
    for (size_t row = 0; row < kRowsOfTwoSteps; ++row) {
      // The cache rounds to 2^-9 in each of three layers.
      EXPECT(RowError(actual, expected, row) < 0.02);
    }
  }
}

TEST(metal_model_gives_a_row_the_same_bits_in_any_company) {
  const TinyModel tiny = MakeTinyModel(Storage::kBf16, Storage::kInt4);
  MetalModel together(tiny, 1), again(tiny, 99), alone(tiny, 7);
  const std::vector<float> expected = TwoSteps(*together.model);
  EXPECT(TwoSteps(*again.model) == expected);
  ExpectRowsAlone(*alone.model, expected);
}

TEST(metal_model_survives_a_device_that_fails_at_any_call) {
  const TinyModel tiny = MakeTinyModel(Storage::kBf16, Storage::kInt4);
  MetalModel metal(tiny, 1);
  KvCache warm = metal.model->NewCache();
  std::vector<float> expected, logits;
  EXPECT(Step(*metal.model, {{&warm, SomeIds(0, 5), 1}}, &expected).ok());
  int call = 1;
  for (; call < 4000; call += 61) {
    metal.device->failing_call = call;
    KvCache cache = metal.model->NewCache();
    const Status failed = Step(*metal.model, {{&cache, SomeIds(0, 5), 1}}, &logits);
    if (metal.device->failing_call > 0) break;  // the step has fewer calls
    EXPECT(failed.code() == ErrorCode::kUnavailable);
    EXPECT(Step(*metal.model, {{&cache, SomeIds(0, 5), 1}}, &logits).ok() && logits == expected);
  }
  EXPECT(call > 100 && call < 4000);
}

TEST(metal_model_leaves_nothing_behind_an_abort) {
  const TinyModel tiny = MakeTinyModel(Storage::kBf16, Storage::kInt4);
  MetalModel metal(tiny, 1);
  ExpectNothingBehindAnAbort(*metal.model);
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
