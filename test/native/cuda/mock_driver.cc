#include "cuda/mock_driver.h"

#include <cstring>
#include <functional>
#include <map>
#include <memory>

#include "gpu/emulator.h"

namespace k2::test {
namespace {

using cuda::Address;
using cuda::DriverResult;

const int kImageData = 0;
std::map<Address, size_t> allocations;
std::map<void*, size_t> pinned;
std::vector<std::function<DriverResult()>> pending;

void Mistake(const std::string& what) {
  if (MockGpu().mistake.empty()) MockGpu().mistake = what;
}

DriverResult MayFail() {
  MockCuda& mock = MockGpu();
  if (mock.lost_result != 0) return mock.lost_result;
  return mock.failing_call > 0 && --mock.failing_call == 0 ? mock.failing_result : 0;
}

// As MayFail, of calls that need a current context.
DriverResult InContext() {
  if (MockGpu().pushed == 0) Mistake("a call without a current context");
  return MayFail();
}

bool Holds(Address address, size_t bytes) {
  auto found = allocations.upper_bound(address);
  return found != allocations.begin() && address + bytes <= (--found)->first + found->second;
}

bool IsPinned(const void* data) {
  auto found = pinned.upper_bound(const_cast<void*>(data));
  return found != pinned.begin() && data < static_cast<uint8_t*>((--found)->first) + found->second;
}

void* Aligned(size_t bytes) { return ::operator new (bytes, std::align_val_t{256}); }
void Free(void* data) { ::operator delete (data, std::align_val_t{256}); }

DriverResult Init(unsigned) { return MockGpu().gpus == 0 ? cuda::kNoDevice : MayFail(); }
DriverResult GetVersion(int* version) {
  *version = MockGpu().driver_version;
  return MayFail();
}
DriverResult GetErrorString(DriverResult result, const char** text) {
  *text = result == 2 ? "out of memory" : result == 719 ? "unspecified launch failure" : nullptr;
  return *text == nullptr ? 1 : 0;
}
DriverResult GetDeviceCount(int* count) {
  *count = MockGpu().gpus;
  return MayFail();
}
DriverResult GetDevice(int* device, int) {
  *device = 0;
  return MayFail();
}
DriverResult GetDeviceName(char* name, int length, int) {
  std::strncpy(name, "a mock of a GPU", static_cast<size_t>(length));
  return MayFail();
}
DriverResult GetDeviceAttribute(int* value, int attribute, int) {
  *value = attribute == cuda::kComputeMajor ? MockGpu().compute_major : MockGpu().compute_minor;
  return MayFail();
}
DriverResult RetainContext(cuda::Context* context, int) {
  if (DriverResult result = MayFail(); result != 0) return result;
  *context = reinterpret_cast<cuda::Context>(&MockGpu());
  ++MockGpu().contexts;
  return 0;
}
DriverResult ReleaseContext(int) {
  --MockGpu().contexts;
  return 0;
}
DriverResult PushContext(cuda::Context context) {
  if (context != reinterpret_cast<cuda::Context>(&MockGpu())) Mistake("another context");
  ++MockGpu().pushed;
  return 0;
}
DriverResult PopContext(cuda::Context*) {
  --MockGpu().pushed;
  return 0;
}
DriverResult GetMemory(size_t* free, size_t* total) {
  *total = MockGpu().memory;
  *free = MockGpu().memory - MockGpu().used;
  return InContext();
}
DriverResult Allocate(Address* address, size_t bytes) {
  if (DriverResult result = InContext(); result != 0) return result;
  if (bytes == 0) Mistake("an allocation of no bytes");
  if (MockGpu().used + bytes > MockGpu().memory) return cuda::kOutOfDeviceMemory;
  void* const data = Aligned(bytes);
  std::memset(data, 0xff, bytes);  // NaN: nobody wrote it yet
  *address = reinterpret_cast<Address>(data);
  allocations[*address] = bytes;
  MockGpu().used += bytes;
  ++MockGpu().allocations;
  return 0;
}
DriverResult FreeDevice(Address address) {
  const auto found = allocations.find(address);
  if (found == allocations.end()) {
    Mistake("memory given back that was not taken");
    return 1;
  }
  if (!pending.empty()) Mistake("memory given back that may be in use");
  MockGpu().used -= found->second;
  allocations.erase(found);
  Free(reinterpret_cast<void*>(address));
  --MockGpu().allocations;
  return 0;
}
DriverResult AllocateHost(void** data, size_t bytes, unsigned) {
  if (DriverResult result = InContext(); result != 0) return result;
  *data = Aligned(bytes);
  pinned[*data] = bytes;
  ++MockGpu().pinned;
  return 0;
}
DriverResult FreeHost(void* data) {
  pinned.erase(data);
  Free(data);
  --MockGpu().pinned;
  return 0;
}
DriverResult CopyToDevice(Address to, const void* from, size_t bytes, cuda::Stream) {
  if (DriverResult result = InContext(); result != 0) return result;
  if (!Holds(to, bytes)) Mistake("a copy to memory of nobody");
  if (!IsPinned(from)) Mistake("a copy from memory that is not pinned, which waits");
  pending.push_back([=] {
    std::memcpy(reinterpret_cast<void*>(to), from, bytes);
    return 0;
  });
  return 0;
}
DriverResult CopyToHost(void* to, Address from, size_t bytes, cuda::Stream) {
  if (DriverResult result = InContext(); result != 0) return result;
  if (!Holds(from, bytes)) Mistake("a copy from memory of nobody");
  ++MockGpu().copies_to_host;
  pending.push_back([=] {
    std::memcpy(to, reinterpret_cast<void*>(from), bytes);
    return 0;
  });
  return 0;
}
DriverResult CreateStream(cuda::Stream* stream, unsigned) {
  if (DriverResult result = InContext(); result != 0) return result;
  *stream = reinterpret_cast<cuda::Stream>(&pending);
  ++MockGpu().streams;
  return 0;
}
DriverResult DestroyStream(cuda::Stream) {
  --MockGpu().streams;
  return 0;
}
DriverResult Synchronize(cuda::Stream) {
  ++MockGpu().waits;
  const auto work = std::move(pending);
  pending.clear();
  if (DriverResult result = InContext(); result != 0) return result;
  for (const auto& item : work) {
    if (DriverResult result = item(); result != 0) return result;
  }
  return 0;
}
DriverResult LoadModule(cuda::Module* module, const void* image) {
  if (DriverResult result = InContext(); result != 0) return result;
  if (image != &kImageData) Mistake("another image");
  *module = reinterpret_cast<cuda::Module>(&allocations);
  ++MockGpu().modules;
  return 0;
}
DriverResult UnloadModule(cuda::Module) {
  --MockGpu().modules;
  return 0;
}
DriverResult GetFunction(cuda::Function* function, cuda::Module, const char* name) {
  if (DriverResult result = InContext(); result != 0) return result;
  const emulator::Kernel* const kernel = emulator::FindKernel(name);
  *function = reinterpret_cast<cuda::Function>(const_cast<emulator::Kernel*>(kernel));
  return kernel == nullptr ? 500 : 0;
}
DriverResult Launch(cuda::Function function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                    unsigned threads, unsigned, unsigned, unsigned, cuda::Stream, void**, void** extra) {
  if (DriverResult result = InContext(); result != 0) return result;
  if (grid_y > 65535 || grid_z > 65535) return 1;
  const auto kernel = reinterpret_cast<const emulator::Kernel*>(function);
  const uint8_t* const from = static_cast<const uint8_t*>(extra[1]);
  auto arguments = std::make_shared<std::vector<uint8_t>>(from, from + *static_cast<size_t*>(extra[3]));
  MockGpu().launched.push_back(kernel->name);
  pending.push_back([=] {
    const std::string fault = emulator::Run({.kernel = kernel,
                                             .arguments = arguments->data(),
                                             .groups = {grid_x, grid_y, grid_z},
                                             .threads = threads,
                                             .seed = MockGpu().seed++});
    if (!fault.empty()) Mistake(fault);
    return fault.empty() ? 0 : 719;
  });
  return 0;
}

}  // namespace

MockCuda& MockGpu() {
  static MockCuda mock;
  return mock;
}

const cuda::Driver& MockDriver() {
  static const cuda::Driver driver = {
      .init = Init,
      .get_version = GetVersion,
      .get_error_string = GetErrorString,
      .get_device_count = GetDeviceCount,
      .get_device = GetDevice,
      .get_device_name = GetDeviceName,
      .get_device_attribute = GetDeviceAttribute,
      .retain_context = RetainContext,
      .release_context = ReleaseContext,
      .push_context = PushContext,
      .pop_context = PopContext,
      .get_memory = GetMemory,
      .allocate = Allocate,
      .free = FreeDevice,
      .allocate_host = AllocateHost,
      .free_host = FreeHost,
      .copy_to_device = CopyToDevice,
      .copy_to_host = CopyToHost,
      .create_stream = CreateStream,
      .destroy_stream = DestroyStream,
      .synchronize = Synchronize,
      .load_module = LoadModule,
      .unload_module = UnloadModule,
      .get_function = GetFunction,
      .launch = Launch,
  };
  return driver;
}

const cuda::KernelImage& MockImage() {
  static const cuda::KernelImage image = {&kImageData, 13000};
  return image;
}

}  // namespace k2::test
