// The device of a Mac against a mock of Metal: what it tells the system, memory that it uses where it lies,
// errors, and that nothing is left behind.
#include "metal/apple_device.h"

#include <sys/mman.h>

#include <cmath>

#include "base/buffer.h"
#include "base/mapped_file.h"
#include "check.h"
#include "conformance.h"
#include "metal/kernel_source.h"
#include "metal/metal_backend.h"
#include "mock_objc.h"
#include "temporary_folder.h"

namespace k2::test {
namespace {

using metal::kKernelSource;
using metal::MakeAppleDevice;

// Every test begins with a system that works, and ends with one that holds nothing of ours.
struct CleanMock {
  CleanMock() { Reset(); }
  ~CleanMock() {
    EXPECT(Mock().live_objects == 0);
    if (!Mock().mistake.empty()) Fail(__FILE__, __LINE__, Mock().mistake);
    Reset();
  }
  static void Reset() {
    const long live = Mock().live_objects, buffers = Mock().live_buffers;
    Mock() = MockMetal();
    Mock().live_objects = live;
    Mock().live_buffers = buffers;
  }
};

std::unique_ptr<Backend> MakeBackend(const BackendShapes& shapes) {
  Result<std::unique_ptr<metal::Device>> device = MakeAppleDevice(kKernelSource);
  EXPECT(device.ok());
  auto backend = std::make_unique<metal::MetalBackend>(std::move(device.value()));
  EXPECT(backend->Prepare(shapes).ok());
  return backend;
}

TEST(apple_device_compiles_the_text_of_all_kernels) {
  const CleanMock clean;
  EXPECT(MakeAppleDevice(kKernelSource).ok());
  const std::string& source = Mock().source;
  EXPECT(source.find("#include <metal_stdlib>") != source.npos);
  EXPECT(source.find("struct WeightArguments") < source.find("void AttendBlock"));
  EXPECT(source.rfind("#include") == source.find("#include <metal_stdlib>"));  // no path to look for others
}

TEST(apple_device_says_why_there_is_none) {
  const CleanMock clean;
  const auto expect = [](const char* message) {
    const Status status = MakeAppleDevice(kKernelSource).status();
    EXPECT(status.code() == ErrorCode::kUnavailable && status.message() == message);
    CleanMock::Reset();
  };
  Mock().has_gpu = false;
  expect("Expected a GPU for Metal, got none");
  Mock().has_metal3 = false;
  expect("Expected a GPU with Metal 3 that shares the processor's memory, got a mock of a GPU");
  Mock().compile_error = "line 7";
  expect("Expected the kernels to compile for a mock of a GPU, got line 7");
}

TEST(apple_device_computes_a_step_in_one_command_buffer) {
  const CleanMock clean;
  const BackendShapes shapes = SmallShapes();
  const std::unique_ptr<Backend> backend = MakeBackend(shapes);
  const StoredWeight w({Storage::kBf16}, 64, 64, 1);
  AlignedBuffer memory = std::move(AlignedBuffer::Allocate(3 * 64 * sizeof(float), "activations").value());
  const Tensor x{memory.as<float>(), 1, 64, 64}, y{x.data + 64, 1, 64, 64}, z{y.data + 64, 1, 64, 64};
  std::vector<float> expected(64);
  for (int step = 0; step < 3; ++step) {
    const Matrix input = RandomActivations(1, 64, static_cast<uint64_t>(step));
    std::copy(input.data.begin(), input.data.end(), x.data);
    backend->Linear({.x = x, .w = &w.weight(), .y = y});
    backend->Linear({.x = y, .w = &w.weight(), .y = z});
    EXPECT(backend->Synchronize().ok());
    EXPECT(Mock().command_buffers == step + 1 && Mock().dispatches == 2 * (step + 1));
    const std::unique_ptr<Backend> reference = MakeReference(shapes);
    Matrix middle(1, 64, 0), end(1, 64, 0);
    reference->Linear({.x = x, .w = &w.weight(), .y = middle.tensor()});
    reference->Linear({.x = middle.tensor(), .w = &w.weight(), .y = end.tensor()});
    for (int64_t n = 0; n < 64; ++n) EXPECT_NEAR(z.data[n], end.at(0, n), 1e-3);
  }
}

// More dispatches than one command buffer takes.
TEST(apple_device_cuts_a_long_step) {
  const CleanMock clean;
  const std::unique_ptr<Backend> backend = MakeBackend(SmallShapes());
  Matrix x(1, 8, 1.0f), y(1, 8, 0.0f);
  for (int i = 0; i < 5000; ++i) backend->Add({.x = x.tensor(), .y = y.tensor()});
  EXPECT(backend->Synchronize().ok());
  EXPECT(y.at(0, 0) == 5000.0f && Mock().command_buffers == 3);
}

TEST(apple_device_forgets_memory_that_is_given_back) {
  const CleanMock clean;
  const std::unique_ptr<Backend> backend = MakeBackend(SmallShapes());
  const long before = Mock().live_buffers;
  Matrix y(1, 8, 0.0f);
  {
    AlignedBuffer memory = std::move(AlignedBuffer::Allocate(1 << 16, "a page").value());
    std::fill_n(memory.as<float>(), 8, 2.0f);
    const Tensor x{memory.as<float>(), 1, 8, 8};
    backend->Add({.x = x, .y = y.tensor()});
    EXPECT(backend->Synchronize().ok());
    // The first chunk of arguments, and the page; y was wrapped for the step alone.
    EXPECT(Mock().live_buffers == before + 2);
    backend->Add({.x = x, .y = y.tensor()});
    EXPECT(backend->Synchronize().ok());
    EXPECT(Mock().live_buffers == before + 2);
  }
  EXPECT(Mock().live_buffers == before + 1);
  EXPECT(y.at(0, 0) == 4.0f);
}

// A file of 10 pages where a buffer has 4: windows begin every 2 pages.
TEST(apple_device_cuts_long_files_into_windows) {
  const CleanMock clean;
  const TemporaryFolder folder;
  const size_t page = static_cast<size_t>(getpagesize());
  const std::string path = folder.path() + "/weights";
  std::vector<uint8_t> bytes(10 * page);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(i / page * 16 + i % 7);
  std::FILE* const out = std::fopen(path.c_str(), "wb");
  EXPECT(out != nullptr && std::fwrite(bytes.data(), 1, bytes.size(), out) == bytes.size());
  std::fclose(out);
  Mock().longest_buffer = 4 * page;
  const MappedFile file = std::move(MappedFile::Open(path).value());
  std::unique_ptr<metal::Device> device = std::move(MakeAppleDevice(kKernelSource).value());
  const auto share = [&](size_t first, size_t count) {
    Result<metal::SharedWeight> shared = device->ShareWeight(file.data() + first, count);
    EXPECT(shared.ok() && shared.value().is_lasting);
    // The mock's addresses are those of the host.
    EXPECT(shared.value().address == reinterpret_cast<uint64_t>(file.data() + first));
  };
  share(100, page);
  share(200, page);
  EXPECT(Mock().live_buffers == 1);
  share(3 * page + 1, 2 * page - 2);  // across the end of the first window
  EXPECT(Mock().live_buffers == 2);
  share(2 * page + 1, 4 * page - 2);  // longer than half a buffer, but it fits its window
  EXPECT(Mock().live_buffers == 2);
  share(5 * page + 1, 4 * page - 2);  // fits no window
  EXPECT(Mock().live_buffers == 3);
  share(5 * page + 1, page);
  share(9 * page, page);
  EXPECT(Mock().live_buffers == 4);
  const Status status = device->ShareWeight(file.data() + 1, 4 * page).status();
  EXPECT(status.code() == ErrorCode::kUnavailable);
  EXPECT(status.message() == "Expected at most " + std::to_string(4 * page) +
                                 " bytes for a buffer of this GPU, got " + std::to_string(5 * page));
}

TEST(apple_device_reports_failures_and_goes_on) {
  const CleanMock clean;
  const std::unique_ptr<Backend> backend = MakeBackend(SmallShapes());
  Matrix x(1, 8, 1.0f), y(1, 8, 0.0f);
  const auto step = [&] {
    backend->Add({.x = x.tensor(), .y = y.tensor()});
    return backend->Synchronize();
  };
  EXPECT(step().ok());
  Mock().command_error = "it hangs";
  EXPECT(step().message() == "Expected a mock of a GPU to finish the step, got: it hangs");
  Mock().command_error_code = 8;
  EXPECT(step().code() == ErrorCode::kOutOfMemory);
  Mock().command_error.clear();
  EXPECT(step().ok());
  Mock().failing_buffer = 1;
  EXPECT(step().code() == ErrorCode::kOutOfMemory);
  EXPECT(step().ok());
  Mock().most_threads = 128;
  backend->SwiGlu({.gate = x.tensor(), .up = x.tensor(), .y = y.tensor()});
  EXPECT(backend->Synchronize().message() ==
         "Expected 256 threads in a threadgroup of kernel SwiGlu, got at most 128");
  Mock().lanes = 64;
  const double frequency = 1;
  const int64_t position = 1;
  backend->Rope({.x = y.tensor(),
                 .heads = 1,
                 .head_width = 8,
                 .positions = {&position, 1},
                 .inverse_frequencies = {&frequency, 1},
                 .magnitude = 1});
  EXPECT(backend->Synchronize().message() == "Expected simdgroups of 32 threads for kernel Rope, got 64");
}

}  // namespace
}  // namespace k2::test
