// A whole model on the CUDA backend and the mock of a driver, whose kernels run only when somebody waits:
// numbers of the portable kernels, the same bits in any company, and failures of the driver at every call.
#include "check.h"
#include "cuda/mock_driver.h"
#include "gpu/model_steps.h"
#include "ops/registry.h"

namespace k2::test {
namespace {

struct CudaModel {
  std::unique_ptr<KimiK2> model;

  CudaModel(const TinyModel& tiny, uint64_t seed) { model = MakeModelOn(tiny, MakeEmulatedCuda(seed, true)); }
  // The CPU's portable kernels.
  explicit CudaModel(const TinyModel& tiny) {
    model = MakeModelOn(tiny, std::move(FindBackend("cpu")->make({.isa = "scalar"}).value()));
  }
};

TEST(cuda_model_gives_the_logits_of_the_portable_kernels) {
  for (const Storage experts : {Storage::kInt4, Storage::kF8E4m3}) {
    const TinyModel tiny = MakeTinyModel(Storage::kBf16, experts);
    CudaModel cuda(tiny, 1), portable(tiny);
    const std::vector<float> actual = TwoSteps(*cuda.model), expected = TwoSteps(*portable.model);
    EXPECT(actual.size() == expected.size());
    int near = 0;
    for (size_t row = 0; row < kRowsOfTwoSteps; ++row) {
      // Both round cache and inputs of products alike, so they differ by their order of adding: 1e-5, and
      // where a number lies between two of bf16, by one rounding to 2^-8.
      const double error = RowError(actual, expected, row);
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
  ExpectRowsAlone(*alone.model, expected);
}

// A device without memory for something is as good as before; any other failure ends it, and says so.
TEST(cuda_model_survives_a_driver_that_fails_at_any_call) {
  const TinyModel tiny = MakeTinyModel(Storage::kBf16, Storage::kInt4);
  std::vector<float> expected, logits;
  {
    CudaModel sound(tiny, 1);
    KvCache cache = sound.model->NewCache();
    EXPECT(Step(*sound.model, {{&cache, SomeIds(0, 5), 1}}, &expected).ok());
  }
  int call = 1;
  for (bool is_over = false; !is_over && call < 20000; call += 97) {
    for (const cuda::DriverResult result : {cuda::kOutOfDeviceMemory, 719}) {
      CudaModel broken(tiny, 1);
      KvCache cache = broken.model->NewCache();
      MockGpu().failing_call = call;
      MockGpu().failing_result = result;
      const Status failed = Step(*broken.model, {{&cache, SomeIds(0, 5), 1}}, &logits);
      is_over = MockGpu().failing_call > 0;  // the step has fewer calls
      MockGpu().failing_call = 0;
      if (is_over) break;
      const Status again = Step(*broken.model, {{&cache, SomeIds(0, 5), 1}}, &logits);
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

TEST(cuda_model_leaves_nothing_behind_an_abort) {
  const TinyModel tiny = MakeTinyModel(Storage::kBf16, Storage::kInt4);
  CudaModel cuda(tiny, 1);
  ExpectNothingBehindAnAbort(*cuda.model);
}

}  // namespace
}  // namespace k2::test
