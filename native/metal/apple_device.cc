#include "metal/apple_device.h"

#include <algorithm>
#include <cstring>
#include <unordered_map>
#include <vector>

#include "metal/host_memory.h"
#include "metal/objc.h"

namespace k2::metal {
namespace {

using objc::Object;
using objc::Ref;
using objc::Send;

// Apple's numbers.
constexpr long kFamilyMetal3 = 5001;             // MTLGPUFamilyMetal3: buffers have addresses
constexpr unsigned long kLanguage3 = 3ul << 16;  // MTLLanguageVersion3_0
constexpr unsigned long kBarrierOfBuffers = 1;   // MTLBarrierScopeBuffers
constexpr unsigned long kStatusError = 5;        // MTLCommandBufferStatusError
constexpr long kErrorOutOfMemory = 8;            // MTLCommandBufferErrorOutOfMemory
constexpr unsigned long kReadAndWrite = 3;       // MTLResourceUsageRead | MTLResourceUsageWrite
constexpr unsigned long kLanes = 32;

struct MtlSize {
  unsigned long width, height, depth;
};

// Dispatches of one command buffer: a decode step of K2 has 1400. A long prefill has more, and a buffer that
// runs for seconds may be stopped by the system.
constexpr int kMostDispatches = 2048;
// Arguments and uploads lie in chunks of this size, at multiples of what every Mac takes as an offset.
constexpr size_t kChunkBytes = 1 << 20, kArgumentAlignment = 256;

class AppleMemory final : public DeviceMemory {
 public:
  // Stands in `all` as long as it lives.
  AppleMemory(Ref buffer, std::vector<Object>* all)
      : buffer_(std::move(buffer)),
        address_(Send<"gpuAddress", uint64_t>(buffer_.get())),
        data_(static_cast<uint8_t*>(Send<"contents", void*>(buffer_.get()))),
        all_(all) {
    all_->push_back(buffer_.get());
  }
  ~AppleMemory() override { all_->erase(std::find(all_->begin(), all_->end(), buffer_.get())); }

  Address address() const override { return address_; }
  uint8_t* data() const override { return data_; }
  Object buffer() const { return buffer_.get(); }

 private:
  Ref buffer_;
  Address address_;
  uint8_t* data_;
  std::vector<Object>* all_;
};

class AppleDevice final : public Device {
 public:
  static Result<std::unique_ptr<Device>> Make(const char* source);
  ~AppleDevice() override;

  std::string name() const override { return name_; }
  Result<int> Kernel(const std::string& name) override;
  Result<std::unique_ptr<DeviceMemory>> Allocate(size_t bytes, const char* name) override;
  Result<Address> Share(const void* data, size_t bytes) override;
  Result<SharedWeight> ShareWeight(const void* data, size_t bytes) override;
  Result<Address> Upload(const void* data, size_t bytes) override;
  Status Dispatch(int kernel, const void* arguments, size_t bytes, Grid groups, uint32_t threads) override;
  Status Finish() override;

 private:
  struct Pipeline {
    Ref state;
    std::string name;
    unsigned long most_threads;
  };
  struct Chunk {
    std::unique_ptr<DeviceMemory> memory;
    size_t size;
  };
  struct Place {
    Object buffer;
    size_t offset;
    Address address;
  };

  explicit AppleDevice(Ref device)
      : device_(std::move(device)),
        longest_(Send<"maxBufferLength", unsigned long>(device_.get())),
        memory_(device_.get(), longest_) {}

  // A copy of the bytes that lasts until Finish.
  Result<Place> Copy(const void* data, size_t bytes);
  void UseMemory(Object buffer);
  Status BeginEncoding();
  void Commit();

  const Ref device_;
  const uint64_t longest_;  // bytes of one buffer
  std::string name_;
  Ref queue_, library_;
  HostMemory memory_;
  std::vector<Pipeline> pipelines_;
  std::unordered_map<std::string, int> pipeline_indices_;
  std::vector<Object> allocated_;  // buffers of all AppleMemory
  std::vector<Chunk> chunks_;
  size_t chunk_ = 0, chunk_used_ = 0;
  Ref commands_, encoder_;
  int dispatches_ = 0;
  std::vector<Ref> committed_;
};

Status Unavailable(const std::string& expected, const std::string& got) {
  return Status(ErrorCode::kUnavailable, "Expected " + expected + ", got " + got);
}

std::string Describe(Object error) {
  return error == nullptr ? std::string("no reason") : objc::Text(Send<"localizedDescription">(error));
}

Result<std::unique_ptr<Device>> AppleDevice::Make(const char* source) {
  const objc::Pool pool;
  Ref gpu = Ref::Adopt(MTLCreateSystemDefaultDevice());
  if (!gpu) return Unavailable("a GPU for Metal", "none");
  const std::string name = objc::Text(Send<"name">(gpu.get()));
  if (!Send<"supportsFamily:", bool>(gpu.get(), kFamilyMetal3) ||
      !Send<"hasUnifiedMemory", bool>(gpu.get())) {
    return Unavailable("a GPU with Metal 3 that shares the processor's memory", name);
  }
  std::unique_ptr<AppleDevice> made(new AppleDevice(std::move(gpu)));
  made->name_ = name;
  made->queue_ = Ref::Adopt(Send<"newCommandQueue">(made->device_.get()));
  if (!made->queue_) return Unavailable("a command queue of " + name, "none");

  const Ref options = Ref::Adopt(Send<"init">(Send<"alloc">(objc_getClass("MTLCompileOptions"))));
  Send<"setFastMathEnabled:", void, bool>(options.get(), false);
  Send<"setLanguageVersion:", void, unsigned long>(options.get(), kLanguage3);
  const Object text = Send<"stringWithUTF8String:", Object, const char*>(objc_getClass("NSString"), source);
  Object error = nullptr;
  made->library_ = Ref::Adopt(Send<"newLibraryWithSource:options:error:", Object, Object, Object, Object*>(
      made->device_.get(), text, options.get(), &error));
  if (!made->library_) return Unavailable("the kernels to compile for " + name, Describe(error));
  return std::unique_ptr<Device>(std::move(made));
}

Result<int> AppleDevice::Kernel(const std::string& name) {
  if (const auto known = pipeline_indices_.find(name); known != pipeline_indices_.end()) return known->second;
  const objc::Pool pool;
  const Object text =
      Send<"stringWithUTF8String:", Object, const char*>(objc_getClass("NSString"), name.c_str());
  const Ref function = Ref::Adopt(Send<"newFunctionWithName:", Object, Object>(library_.get(), text));
  if (!function) return Status(ErrorCode::kInternal, "Expected a kernel " + name + ", got none");
  Object error = nullptr;
  Ref state = Ref::Adopt(Send<"newComputePipelineStateWithFunction:error:", Object, Object, Object*>(
      device_.get(), function.get(), &error));
  if (!state) return Unavailable("kernel " + name + " to compile for " + name_, Describe(error));
  const unsigned long lanes = Send<"threadExecutionWidth", unsigned long>(state.get());
  if (lanes != kLanes) {
    return Unavailable("simdgroups of 32 threads for kernel " + name, std::to_string(lanes));
  }
  const unsigned long most = Send<"maxTotalThreadsPerThreadgroup", unsigned long>(state.get());
  pipelines_.push_back({std::move(state), name, most});
  return pipeline_indices_[name] = static_cast<int>(pipelines_.size()) - 1;
}

Result<std::unique_ptr<DeviceMemory>> AppleDevice::Allocate(size_t bytes, const char* name) {
  if (bytes > longest_) {
    return Status(ErrorCode::kOutOfMemory, "Expected at most " + std::to_string(longest_) +
                                               " bytes for a buffer of this GPU, got " +
                                               std::to_string(bytes) + " for " + name);
  }
  const objc::Pool pool;
  Ref buffer = Ref::Adopt(Send<"newBufferWithLength:options:", Object, unsigned long, unsigned long>(
      device_.get(), std::max<size_t>(bytes, 1), 0));  // shared by processor and GPU
  if (!buffer) {
    return Status(ErrorCode::kOutOfMemory, "Expected " + std::to_string(bytes) +
                                               " free bytes on the GPU for " + name + ", got a refusal");
  }
  auto memory = std::make_unique<AppleMemory>(std::move(buffer), &allocated_);
  if (encoder_) UseMemory(memory->buffer());
  return std::unique_ptr<DeviceMemory>(std::move(memory));
}

Result<Address> AppleDevice::Share(const void* data, size_t bytes) {
  const objc::Pool pool;
  return memory_.Share(data, bytes);
}

Result<SharedWeight> AppleDevice::ShareWeight(const void* data, size_t bytes) {
  const objc::Pool pool;
  return memory_.ShareWeight(data, bytes);
}

Result<AppleDevice::Place> AppleDevice::Copy(const void* data, size_t bytes) {
  const auto fits = [&] { return chunk_ < chunks_.size() && chunk_used_ + bytes <= chunks_[chunk_].size; };
  while (!fits() && chunk_ < chunks_.size()) {
    ++chunk_;
    chunk_used_ = 0;
  }
  if (chunk_ == chunks_.size()) {
    const size_t size = std::max(bytes, kChunkBytes);
    Result<std::unique_ptr<DeviceMemory>> memory = Allocate(size, "arguments of kernels");
    if (!memory.ok()) return memory.status();
    chunks_.push_back({std::move(memory.value()), size});
  }
  DeviceMemory* const memory = chunks_[chunk_].memory.get();
  std::memcpy(memory->data() + chunk_used_, data, bytes);
  const Place place{static_cast<const AppleMemory*>(memory)->buffer(), chunk_used_,
                    memory->address() + chunk_used_};
  chunk_used_ += (bytes + kArgumentAlignment - 1) / kArgumentAlignment * kArgumentAlignment;
  return place;
}

Result<Address> AppleDevice::Upload(const void* data, size_t bytes) {
  Result<Place> place = Copy(data, bytes);
  if (!place.ok()) return place.status();
  return place.value().address;
}

void AppleDevice::UseMemory(Object buffer) {
  Send<"useResource:usage:", void, Object, unsigned long>(encoder_.get(), buffer, kReadAndWrite);
}

Status AppleDevice::BeginEncoding() {
  if (encoder_) return {};
  commands_ = Ref::Retain(Send<"commandBuffer">(queue_.get()));
  if (!commands_) return Unavailable("a command buffer of " + name_, "none");
  encoder_ = Ref::Retain(Send<"computeCommandEncoder">(commands_.get()));
  if (!encoder_) return Unavailable("a command encoder of " + name_, "none");
  dispatches_ = 0;
  for (Object buffer : allocated_) UseMemory(buffer);
  memory_.SetEncoder(encoder_.get());
  return {};
}

Status AppleDevice::Dispatch(int kernel, const void* arguments, size_t bytes, Grid groups, uint32_t threads) {
  const objc::Pool pool;
  const Pipeline& pipeline = pipelines_[static_cast<size_t>(kernel)];
  if (threads > pipeline.most_threads) {
    return Unavailable(std::to_string(threads) + " threads in a threadgroup of kernel " + pipeline.name,
                       "at most " + std::to_string(pipeline.most_threads));
  }
  K2_RETURN_IF_ERROR(BeginEncoding());
  Result<Place> place = Copy(arguments, bytes);
  if (!place.ok()) return place.status();
  const Object encoder = encoder_.get();
  Send<"setComputePipelineState:", void, Object>(encoder, pipeline.state.get());
  Send<"setBuffer:offset:atIndex:", void, Object, unsigned long, unsigned long>(encoder, place.value().buffer,
                                                                                place.value().offset, 0);
  Send<"dispatchThreadgroups:threadsPerThreadgroup:", void, MtlSize, MtlSize>(
      encoder, MtlSize{groups.x, groups.y, groups.z}, MtlSize{threads, 1, 1});
  // Kernels reach each other's results by address, of which Metal does not know.
  Send<"memoryBarrierWithScope:", void, unsigned long>(encoder, kBarrierOfBuffers);
  if (++dispatches_ == kMostDispatches) Commit();
  return {};
}

void AppleDevice::Commit() {
  memory_.SetEncoder(nullptr);
  if (encoder_) Send<"endEncoding", void>(encoder_.get());
  encoder_ = Ref();
  if (!commands_) return;
  Send<"commit", void>(commands_.get());
  committed_.push_back(std::move(commands_));
}

Status AppleDevice::Finish() {
  const objc::Pool pool;
  Commit();
  Status status;
  for (const Ref& commands : committed_) {
    Send<"waitUntilCompleted", void>(commands.get());
    if (!status.ok() || Send<"status", unsigned long>(commands.get()) != kStatusError) continue;
    const Object error = Send<"error">(commands.get());
    const bool is_memory = error != nullptr && Send<"code", long>(error) == kErrorOutOfMemory;
    status = Status(is_memory ? ErrorCode::kOutOfMemory : ErrorCode::kUnavailable,
                    "Expected " + name_ + " to finish the step, got: " + Describe(error));
  }
  committed_.clear();
  memory_.EndStep();
  chunk_ = chunk_used_ = 0;
  return status;
}

AppleDevice::~AppleDevice() {
  if (!Finish().ok()) return;  // nobody is left to hear of it
}

}  // namespace

Result<std::unique_ptr<Device>> MakeAppleDevice(const char* source) { return AppleDevice::Make(source); }

}  // namespace k2::metal
