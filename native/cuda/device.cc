#include "cuda/device.h"

#include <algorithm>
#include <cstring>

namespace k2::cuda {
namespace {

constexpr unsigned kNonBlocking = 1;  // CU_STREAM_NON_BLOCKING: apart from the process's other streams
constexpr int kOldestCompute = 80;    // bfloat16 on tensor cores

std::string VersionText(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

Status Unavailable(const std::string& expected, const std::string& got) {
  return Status(ErrorCode::kUnavailable, "Expected " + expected + " for device cuda, got " + got);
}

}  // namespace

class Device::Current {
 public:
  explicit Current(const Device& device) : driver_(device.driver_) {
    is_current_ = device.context_ != nullptr && driver_.push_context(device.context_) == 0;
  }
  ~Current() {
    Context context;
    if (is_current_) driver_.pop_context(&context);
  }

 private:
  const Driver& driver_;
  bool is_current_;
};

DeviceMemory::~DeviceMemory() {
  if (address_ == 0) return;
  const Device::Current current(*device_);
  device_->driver_.free(address_);
}

Result<std::unique_ptr<Device>> Device::Make(const Driver& driver, const KernelImage& image,
                                             size_t staging_bytes) {
  std::unique_ptr<Device> device(new Device(driver));
  K2_RETURN_IF_ERROR(device->Open(image, staging_bytes));
  return device;
}

Status Device::Open(const KernelImage& image, size_t staging_bytes) {
  const auto wrong = [&](const char* expected, DriverResult result) {
    return Unavailable(expected, Describe(driver_, result));
  };
  int version = 0, count = 0, major = 0, minor = 0;
  DriverResult result = driver_.init(0);
  if (result == kNoDevice) return Unavailable("a GPU of NVIDIA's", "none");
  if (result != 0) return wrong("the driver to start", result);
  if (result = driver_.get_version(&version); result != 0) return wrong("the driver's version", result);
  if (version < image.driver_version) {
    return Unavailable("a driver for CUDA " + VersionText(image.driver_version) + " or newer",
                       "one for " + VersionText(version));
  }
  if (result = driver_.get_device_count(&count); result != 0) return wrong("the number of GPUs", result);
  if (count == 0) return Unavailable("a GPU of NVIDIA's", "none");
  char name[256] = {};
  if (result = driver_.get_device(&device_, 0); result == 0) {
    result = driver_.get_device_name(name, sizeof name - 1, device_);
  }
  if (result == 0) result = driver_.get_device_attribute(&major, kComputeMajor, device_);
  if (result == 0) result = driver_.get_device_attribute(&minor, kComputeMinor, device_);
  if (result != 0) return wrong("the GPU's properties", result);
  name_ = name;
  if (10 * major + minor < kOldestCompute) {
    return Unavailable("a GPU of compute capability 8.0 or newer",
                       name_ + " with " + std::to_string(major) + "." + std::to_string(minor));
  }
  if (result = driver_.retain_context(&context_, device_); result != 0) {
    context_ = nullptr;
    return wrong("a context on the GPU", result);
  }
  const Current current(*this);
  if (result = driver_.create_stream(&stream_, kNonBlocking); result != 0) return wrong("a stream", result);
  if (result = driver_.load_module(&module_, image.data); result != 0) {
    return wrong("the GPU to take our kernels", result);
  }
  void* pinned = nullptr;
  if (result = driver_.allocate_host(&pinned, staging_bytes, 0); result != 0) {
    return Status(ErrorCode::kOutOfMemory, "Expected " + std::to_string(staging_bytes) +
                                               " bytes of pinned memory for device cuda, got " +
                                               Describe(driver_, result));
  }
  staging_ = static_cast<uint8_t*>(pinned);
  staging_size_ = staging_bytes;
  return {};
}

Device::~Device() {
  {
    const Current current(*this);
    if (stream_ != nullptr) driver_.synchronize(stream_);
    if (staging_ != nullptr) driver_.free_host(staging_);
    if (module_ != nullptr) driver_.unload_module(module_);
    if (stream_ != nullptr) driver_.destroy_stream(stream_);
  }
  if (context_ != nullptr) driver_.release_context(device_);
}

// Every failure but a lack of memory leaves the context unusable, or cannot be told from one that does.
Status Device::Failure(const char* what, DriverResult result) {
  const Status status(ErrorCode::kUnavailable, std::string("Expected ") + name_ + " to " + what + ", got " +
                                                   Describe(driver_, result) + "; load the model again");
  if (lost_.ok()) lost_ = status;
  return lost_;
}

Result<size_t> Device::FreeBytes() {
  if (!lost_.ok()) return lost_;
  const Current current(*this);
  size_t free = 0, total = 0;
  if (DriverResult result = driver_.get_memory(&free, &total); result != 0) {
    return Failure("tell its free memory", result);
  }
  return free;
}

Result<DeviceMemory> Device::Allocate(size_t bytes, const char* name) {
  if (!lost_.ok()) return lost_;
  if (bytes == 0) return DeviceMemory();
  const Current current(*this);
  Address address = 0;
  const DriverResult result = driver_.allocate(&address, bytes);
  if (result == 0) return DeviceMemory(*this, address, bytes);
  if (result != kOutOfDeviceMemory) return Failure("give memory", result);
  size_t free = 0, total = 0;
  driver_.get_memory(&free, &total);
  return Status(ErrorCode::kOutOfMemory, "Expected " + std::to_string(bytes) + " bytes for " + name + " on " +
                                             name_ + ", got " + std::to_string(free) + " free of " +
                                             std::to_string(total));
}

Result<uint8_t*> Device::Stage(size_t bytes) {
  if (bytes > staging_size_) {
    return Status(ErrorCode::kInternal, "Expected at most " + std::to_string(staging_size_) +
                                            " bytes of a piece, got " + std::to_string(bytes));
  }
  if (staged_ + bytes > staging_size_) K2_RETURN_IF_ERROR(Finish());
  return staging_ + staged_;
}

Status Device::Send(Address to, const uint8_t* staged, size_t bytes) {
  if (!lost_.ok()) return lost_;
  const Current current(*this);
  if (DriverResult result = driver_.copy_to_device(to, staged, bytes, stream_); result != 0) {
    return Failure("take a copy", result);
  }
  // Pieces begin at multiples of a cache line.
  staged_ = std::min(staging_size_, (static_cast<size_t>(staged - staging_) + bytes + 63) / 64 * 64);
  return {};
}

Status Device::Write(Address to, const void* from, size_t bytes) {
  const uint8_t* const data = static_cast<const uint8_t*>(from);
  for (size_t done = 0; done < bytes;) {
    const size_t piece = std::min(bytes - done, staging_size_);
    Result<uint8_t*> staged = Stage(piece);
    if (!staged.ok()) return staged.status();
    std::memcpy(staged.value(), data + done, piece);
    K2_RETURN_IF_ERROR(Send(to + done, staged.value(), piece));
    done += piece;
  }
  return {};
}

Status Device::Read(void* to, Address from, size_t bytes) {
  if (!lost_.ok()) return lost_;
  const Current current(*this);
  const DriverResult result = driver_.copy_to_host(to, from, bytes, stream_);
  return result == 0 ? Status() : Failure("give a copy", result);
}

Status Device::Launch(const std::string& kernel, const void* arguments, size_t bytes, Grid blocks,
                      uint32_t threads) {
  if (!lost_.ok()) return lost_;
  if (blocks.x == 0 || blocks.y == 0 || blocks.z == 0) return {};
  const Current current(*this);
  Function& function = functions_[kernel];
  if (function == nullptr) {
    if (DriverResult result = driver_.get_function(&function, module_, kernel.c_str()); result != 0) {
      function = nullptr;
      return Status(ErrorCode::kInternal,
                    "Expected a kernel " + kernel + ", got " + Describe(driver_, result));
    }
  }
  // CU_LAUNCH_PARAM_BUFFER_POINTER, CU_LAUNCH_PARAM_BUFFER_SIZE, CU_LAUNCH_PARAM_END
  void* extra[] = {reinterpret_cast<void*>(1), const_cast<void*>(arguments), reinterpret_cast<void*>(2),
                   &bytes, nullptr};
  const DriverResult result =
      driver_.launch(function, blocks.x, blocks.y, blocks.z, threads, 1, 1, 0, stream_, nullptr, extra);
  return result == 0 ? Status() : Failure(("start " + kernel).c_str(), result);
}

Status Device::Finish() {
  const Current current(*this);
  // After a failure too, so that nothing runs on while its memory is given back.
  if (DriverResult result = driver_.synchronize(stream_); result != 0) {
    return Failure("finish its work", result);
  }
  staged_ = 0;
  return lost_;
}

}  // namespace k2::cuda
