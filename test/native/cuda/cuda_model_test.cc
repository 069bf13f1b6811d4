// A whole model on the CUDA backend and the mock of a driver, whose kernels run only when somebody waits:
// numbers of the portable kernels, the same bits in any company, and failures of the driver at every call.
#include <cmath>

#include "check.h"
#include "cuda/mock_driver.h"
#include "model/kimi_k2.h"
#include "ops/registry.h"
#include "tiny_model.h"

namespace k2::test {
namespace {

struct CudaModel {
  std::unique_ptr<KimiK2> model;

  CudaModel(const TinyModel& tiny, uint64_t seed) { Make(tiny, MakeEmulatedCuda(seed, true)); }
  // The CPU's portable kernels.
  explicit CudaModel(const TinyModel& tiny) {
    Make(tiny, std::move(FindBackend("cpu")->make({.isa = "scalar"}).value()));
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

TEST(cuda_model_gives_the_logits_of_the_portable_kernels) {
  for (const Storage experts : {Storage::kInt4, Storage::kF8E4m3}) {
    const TinyModel tiny = MakeTinyModel(Storage::kBf16, experts);
    CudaModel cuda(tiny, 1), portable(tiny);
    const std::vector<float> actual = TwoSteps(*cuda.model), expected = TwoSteps(*portable.model);
    const size_t vocab = static_cast<size_t>(tiny.spec.vocab);
    EXPECT(actual.size() == 7 * vocab);
    int near = 0;
    for (size_t row = 0; row < 7; ++row) {
      double difference = 0, size = 0;
      for (size_t v = row * vocab; v < (row + 1) * vocab; ++v) {
        difference += std::pow(double{actual[v]} - expected[v], 2);
        size += std::pow(double{expected[v]}, 2);
      }
      // Both round cache and inputs of products alike, so they differ by their order of adding: 1e-5, and
      // where a number lies between two of bf16, by one rounding to 2^-8. Rows of independent numbers would
      // be off by 1.4.
      const double error = std::sqrt(difference / size);
      EXPECT(error < 0.015);
      if (error < 1e-3) ++near;
    }
    EXPECT(near >= 3);
  }
}

TEST(cuda_model_gives_a_row_the_same_bits_in_any_company) {
  const TinyModel tiny = MakeTinyModel(Storage::kBf16, Storage::kInt4);
  CudaModel together(tiny, 1), again(tiny, 99), alone(tiny, 7);
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

// A device without memory for something is as good as before; any other failure ends it, and says so.
TEST(cuda_model_survives_a_driver_that_fails_at_any_call) {
  const TinyModel tiny = MakeTinyModel(Storage::kBf16, Storage::kInt4);
  std::vector<float> expected, logits;
  {
    CudaModel sound(tiny, 1);
    KvCache cache = sound.model->NewCache();
    EXPECT(Step(*sound.model, {{&cache, Ids(0, 5), 1}}, &expected).ok());
  }
  int call = 1;
  for (bool is_over = false; !is_over && call < 20000; call += 97) {
    for (const cuda::DriverResult result : {cuda::kOutOfDeviceMemory, 719}) {
      CudaModel broken(tiny, 1);
      KvCache cache = broken.model->NewCache();
      MockGpu().failing_call = call;
      MockGpu().failing_result = result;
      const Status failed = Step(*broken.model, {{&cache, Ids(0, 5), 1}}, &logits);
      is_over = MockGpu().failing_call > 0;  // the step has fewer calls
      MockGpu().failing_call = 0;
      if (is_over) break;
      const Status again = Step(*broken.model, {{&cache, Ids(0, 5), 1}}, &logits);
      if (failed.code() == ErrorCode::kUnavailable) {
        EXPECT(again.code() == ErrorCode::kUnavailable && again.message() == failed.message());
      } else {
        EXPECT(failed.ok() || failed.code() == ErrorCode::kOutOfMemory ||
               failed.code() == ErrorCode::kInternal);
        EXPECT(failed.ok() || (again.ok() && logits == expected));
      }
    }
  }
  EXPECT(call > 100 && call < 20000);
  EXPECT(MockGpu().mistake.empty() && MockGpu().used == 0);
  MockGpu() = {};
}

// The cache of an aborted step is gone when the next one ends.
TEST(cuda_model_leaves_nothing_behind_an_abort) {
  const TinyModel tiny = MakeTinyModel(Storage::kBf16, Storage::kInt4);
  CudaModel cuda(tiny, 1);
  std::vector<float> logits;
  for (int layers = 0; layers < 3; ++layers) {
    auto cache = std::make_unique<KvCache>(cuda.model->NewCache());
    const std::vector<int32_t> ids = Ids(0, 5);
    EXPECT(cache->Reserve(5).ok());
    Batch batch;
    batch.parts.push_back({cache.get(), ids, AttentionForm::kAbsorbed, {nullptr, 0, 90, 90}});
    int left = layers;
    EXPECT(cuda.model->Forward(batch, [&] { return left-- > 0; }).code() == ErrorCode::kAborted);
    cache = nullptr;
    KvCache next = cuda.model->NewCache();
    EXPECT(Step(*cuda.model, {{&next, Ids(0, 5), 1}}, &logits).ok());
  }
}

}  // namespace
}  // namespace k2::test
