// One GPU: memory, copies and kernels, all in order on one stream. Copies go through pinned memory of a fixed
// size, so that the host need not wait for each of them.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "cuda/driver.h"
#include "cuda/kernel_image.h"

namespace k2::cuda {

struct Grid {
  uint32_t x = 1, y = 1, z = 1;  // blocks; none where one of them is 0
};

class Device;

// Memory of the device; given back on the thread that drops it, which must be the device's.
class DeviceMemory {
 public:
  DeviceMemory() = default;
  DeviceMemory(Device& device, Address address, size_t size)
      : device_(&device), address_(address), size_(size) {}
  DeviceMemory(DeviceMemory&& other) noexcept { *this = std::move(other); }
  DeviceMemory& operator=(DeviceMemory&& other) noexcept {
    std::swap(device_, other.device_);
    std::swap(address_, other.address_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~DeviceMemory();

  Address address() const { return address_; }
  size_t size() const { return size_; }

 private:
  Device* device_ = nullptr;
  Address address_ = 0;
  size_t size_ = 0;
};

// Used on the engine thread only.
class Device {
 public:
  static constexpr size_t kStagingBytes = size_t{16} << 20;

  // The first GPU. kUnavailable says what is missing: a driver that is new enough, a GPU, one that is.
  static Result<std::unique_ptr<Device>> Make(const Driver& driver, const KernelImage& image,
                                              size_t staging_bytes = kStagingBytes);
  ~Device();
  Device(const Device&) = delete;

  const std::string& name() const { return name_; }
  // Bytes that are still free on the GPU; other processes may take them.
  Result<size_t> FreeBytes();

  // `name` says in the error what the memory was for.
  Result<DeviceMemory> Allocate(size_t bytes, const char* name);

  // Most bytes of one piece.
  size_t staging_bytes() const { return staging_size_; }
  // Pinned memory to be filled and then sent, before the next piece is asked for.
  Result<uint8_t*> Stage(size_t bytes);
  Status Send(Address to, const uint8_t* staged, size_t bytes);
  // `from` may change as soon as this returns.
  Status Write(Address to, const void* from, size_t bytes);
  // Done when Finish returns.
  Status Read(void* to, Address from, size_t bytes);

  // A kernel of cuda/kernels by its name. `arguments` are copied; `threads` of a block.
  Status Launch(const std::string& kernel, const void* arguments, size_t bytes, Grid blocks,
                uint32_t threads);
  // Waits for all of the above. After a failure that leaves the GPU's context unusable, everything fails.
  Status Finish();

 private:
  friend class DeviceMemory;
  class Current;  // makes our context that of the thread, for a scope

  explicit Device(const Driver& driver) : driver_(driver) {}
  Status Open(const KernelImage& image, size_t staging_bytes);
  Status Failure(const char* what, DriverResult result);

  const Driver& driver_;
  std::string name_;
  int device_ = 0;
  Context context_ = nullptr;
  Stream stream_ = nullptr;
  Module module_ = nullptr;
  std::map<std::string, Function> functions_;
  uint8_t* staging_ = nullptr;
  size_t staging_size_ = 0, staged_ = 0;
  Status lost_;  // the failure behind which the context is gone
};

}  // namespace k2::cuda
