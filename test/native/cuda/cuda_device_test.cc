// The host's side of the CUDA backend against a mock of the driver: what it asks for, what it copies and
// when, errors, and that nothing is left behind.
#include <cmath>

#include "base/buffer.h"
#include "check.h"
#include "conformance.h"
#include "cuda/cuda_backend.h"
#include "cuda/mock_driver.h"

namespace k2::test {
namespace {

using cuda::Device;

// Every test begins with a system that works, and ends with one that holds nothing of ours.
struct CleanMock {
  CleanMock() { MockGpu() = {}; }
  ~CleanMock() {
    const MockCuda& m = MockGpu();
    EXPECT(m.allocations == 0 && m.pinned == 0 && m.contexts == 0 && m.streams == 0 && m.modules == 0);
    EXPECT(m.used == 0 && m.pushed == 0);
    if (!m.mistake.empty()) Fail(__FILE__, __LINE__, m.mistake);
    MockGpu() = {};
  }
};

std::unique_ptr<Backend> MakeBackend(size_t staging_bytes = Device::kStagingBytes) {
  Result<std::unique_ptr<Device>> device = Device::Make(MockDriver(), MockImage(), staging_bytes);
  EXPECT(device.ok());
  auto backend = std::make_unique<cuda::CudaBackend>(std::move(device.value()));
  EXPECT(backend->Prepare(SmallShapes()).ok());
  return backend;
}

AlignedBuffer Numbers(int64_t count, float value) {
  AlignedBuffer buffer =
      std::move(AlignedBuffer::Allocate(static_cast<size_t>(count) * sizeof(float), "numbers").value());
  std::fill_n(buffer.as<float>(), count, value);
  return buffer;
}

TEST(cuda_device_says_why_there_is_none) {
  const auto expect = [](auto&& change, const char* message) {
    const CleanMock clean;
    change(MockGpu());
    const Status status = Device::Make(MockDriver(), MockImage()).status();
    EXPECT(status.code() == ErrorCode::kUnavailable && status.message() == message);
  };
  expect([](MockCuda& m) { m.gpus = 0; }, "Expected a GPU of NVIDIA's for device cuda, got none");
  expect([](MockCuda& m) { m.driver_version = 12080; },
         "Expected a driver for CUDA 13.0 or newer for device cuda, got one for 12.8");
  expect([](MockCuda& m) { m.compute_major = 7, m.compute_minor = 5; },
         "Expected a GPU of compute capability 8.0 or newer for device cuda, got a mock of a GPU with 7.5");
}

TEST(cuda_device_fails_to_open_at_any_call) {
  int call = 1;
  for (;; ++call) {
    const CleanMock clean;
    MockGpu().failing_call = call;
    const Result<std::unique_ptr<Device>> device = Device::Make(MockDriver(), MockImage());
    EXPECT(device.ok() == (MockGpu().failing_call > 0));
    if (device.ok()) break;
  }
  EXPECT(call > 8);
}

// Activations are sent once, however many ops and steps use them, and come back behind each step.
TEST(cuda_keeps_buffers_on_the_device) {
  const CleanMock clean;
  const std::unique_ptr<Backend> backend = MakeBackend();
  const long before = MockGpu().allocations;
  {
    const AlignedBuffer memory = Numbers(128, 1.0f);
    const Tensor x{memory.as<float>(), 1, 64, 64}, y{x.data + 64, 1, 64, 64};
    backend->Add({.x = x, .y = y});
    backend->Add({.x = y, .y = x});
    EXPECT(x.data[0] == 1.0f);  // nothing runs before somebody waits
    EXPECT(backend->Synchronize().ok());
    EXPECT(y.data[63] == 2.0f && x.data[0] == 3.0f);
    EXPECT(MockGpu().allocations == before + 1);
    EXPECT(MockGpu().copies_to_host == 1);  // both rows, side by side
    std::fill_n(memory.as<float>(), 128, NAN);
    backend->Add({.x = x, .y = y});
    EXPECT(backend->Synchronize().ok());
    EXPECT(y.data[0] == 5.0f && std::isnan(x.data[0]));  // the device's own numbers; only y was written
  }
  EXPECT(backend->Synchronize().ok());
  EXPECT(MockGpu().allocations == before);
}

// Memory that nobody told us of is copied for a step, whole rows or parts of them, in any overlap.
TEST(cuda_copies_other_memory_for_a_step) {
  const CleanMock clean;
  const std::unique_ptr<Backend> backend = MakeBackend();
  std::vector<float> memory(40, 1.0f);
  const auto row = [&](int64_t first, int64_t count) {
    return Tensor{memory.data() + first, 1, count, count};
  };
  backend->Add({.x = row(0, 10), .y = row(10, 10)});  // [10, 20) = 2
  backend->Add({.x = row(15, 5), .y = row(20, 5)});   // [20, 25) = 3
  backend->Add({.x = row(5, 20), .y = row(20, 20)});  // 1 x 5, 2 x 10, 3 x 5 are added
  EXPECT(backend->Synchronize().ok());
  const float expected[] = {4, 3, 3, 4};
  EXPECT(memory[9] == 1 && memory[10] == 2 && memory[19] == 2);
  for (size_t i = 0; i < 4; ++i) EXPECT(memory[20 + 5 * i] == expected[i]);
  EXPECT(memory[39] == 4);
}

// Staging memory of a few pieces: it is used again and again, never before its copies ended.
TEST(cuda_sends_weights_through_little_memory) {
  const CleanMock clean;
  const std::unique_ptr<Backend> little = MakeBackend(8192), plenty = MakeBackend();
  for (const Coding& coding :
       {Coding{Storage::kBf16}, Coding{Storage::kF32}, Coding{Storage::kInt4, Storage::kBf16, 1, 32}}) {
    const StoredWeight w(coding, 200, 64, 1);
    const Matrix x = RandomActivations(3, 64, 2);
    Matrix y(3, 200, NAN), expected(3, 200, NAN);
    little->Linear({.x = x.tensor(), .w = &w.weight(), .y = y.tensor()});
    EXPECT(little->Synchronize().ok());
    plenty->Linear({.x = x.tensor(), .w = &w.weight(), .y = expected.tensor()});
    EXPECT(plenty->Synchronize().ok());
    EXPECT(SameBits(y, expected));
  }
}

TEST(cuda_refuses_what_has_no_room) {
  const CleanMock clean;
  const std::unique_ptr<Backend> backend = MakeBackend();
  MockGpu().memory = MockGpu().used + (size_t{1} << 20);
  const Status held = backend->HoldWeights(int64_t{600} << 30);
  EXPECT(held.code() == ErrorCode::kOutOfMemory);
  EXPECT(held.message() ==
         "Expected 644245094400 bytes of weights to fit on a mock of a GPU, got 1048576 bytes free");
  EXPECT(backend->HoldWeights(1 << 20).ok());

  const AlignedBuffer memory = Numbers(1 << 20, 1.0f), small = Numbers(64, 1.0f);
  const Tensor x{memory.as<float>(), 1, 1 << 20, 1 << 20}, y{small.as<float>(), 1, 64, 64};
  backend->Add({.x = x, .y = x});
  const Status full = backend->Synchronize();
  EXPECT(full.code() == ErrorCode::kOutOfMemory);
  EXPECT(full.message().find("Expected 4194304 bytes for activations and cache on a mock of a GPU, got ") ==
         0);
  backend->Add({.x = y, .y = y});  // the device is none the worse
  EXPECT(backend->Synchronize().ok() && small.as<float>()[0] == 2.0f);
}

TEST(cuda_says_that_the_device_is_lost) {
  const CleanMock clean;
  const std::unique_ptr<Backend> backend = MakeBackend();
  const AlignedBuffer memory = Numbers(64, 1.0f);
  const Tensor x{memory.as<float>(), 1, 64, 64};
  backend->Add({.x = x, .y = x});
  MockGpu().lost_result = 719;
  const std::string message =
      "Expected a mock of a GPU to finish its work, got unspecified launch failure (719); load the model "
      "again";
  Status status = backend->Synchronize();
  EXPECT(status.code() == ErrorCode::kUnavailable && status.message() == message);
  EXPECT(x.data[0] == 1.0f);
  backend->Add({.x = x, .y = x});
  status = backend->Synchronize();
  EXPECT(status.code() == ErrorCode::kUnavailable && status.message() == message);
  MockGpu().lost_result = 0;  // so that the mock takes back what is ours
}

TEST(cuda_backend_refuses_what_its_kernels_have_no_room_for) {
  const CleanMock clean;
  const auto expect = [&](int64_t BackendShapes::*field, int64_t value, const char* message) {
    BackendShapes wrong = SmallShapes();
    wrong.chosen = 1;
    wrong.*field = value;
    const Status status = MakeEmulatedCuda(1, true)->Prepare(wrong);
    EXPECT(status.code() == ErrorCode::kUnavailable && status.message() == message);
  };
  expect(&BackendShapes::kv_rank, 513, "Expected at most 512 for kv_lora_rank on device cuda, got 513");
  expect(&BackendShapes::rope_dim, 66, "Expected at most 64 for qk_rope_head_dim on device cuda, got 66");
  expect(&BackendShapes::experts, 1025,
         "Expected at most 1024 for n_routed_experts on device cuda, got 1025");
  expect(&BackendShapes::chosen, 33, "Expected at most 32 for num_experts_per_tok on device cuda, got 33");
  expect(&BackendShapes::batch_tokens, 65536,
         "Expected at most 65535 for batchTokens times num_experts_per_tok on device cuda, got 65536");
}

}  // namespace
}  // namespace k2::test
