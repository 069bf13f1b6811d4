// What the Metal backend needs of a GPU. The real one speaks to Apple's frameworks (apple_device.cc); the
// tests have one that runs the kernels in an emulator.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/status.h"

namespace k2::metal {

// Of memory, as kernels see it; 0 is none.
using Address = uint64_t;

struct Grid {
  uint32_t x = 1, y = 1, z = 1;  // threadgroups; none where one of them is 0
};

// Memory of the device that the host sees too. It must outlive what was dispatched with it.
class DeviceMemory {
 public:
  virtual ~DeviceMemory() = default;
  virtual Address address() const = 0;
  virtual uint8_t* data() const = 0;
};

struct SharedWeight {
  Address address;
  // Lies in a mapped file, so that the address holds as long as the file is mapped; else until Finish.
  bool is_lasting;
};

// One object per backend, used on the engine thread only. Dispatches run in order, each after all writes of
// those before it.
class Device {
 public:
  virtual ~Device() = default;

  virtual std::string name() const = 0;
  // A kernel of native/metal/kernels by its name, compiled when first asked for.
  virtual Result<int> Kernel(const std::string& name) = 0;
  // `name` says in the error what the memory was for.
  virtual Result<std::unique_ptr<DeviceMemory>> Allocate(size_t bytes, const char* name) = 0;
  // Memory of the host, which kernels use where it lies. Both stay as they are until Finish.
  virtual Result<Address> Share(const void* data, size_t bytes) = 0;
  virtual Result<SharedWeight> ShareWeight(const void* data, size_t bytes) = 0;
  // A copy, until Finish.
  virtual Result<Address> Upload(const void* data, size_t bytes) = 0;
  // `arguments` are copied; `threads` of a threadgroup.
  virtual Status Dispatch(int kernel, const void* arguments, size_t bytes, Grid groups, uint32_t threads) = 0;
  // Waits for all that was dispatched; its failure, if any. What was dispatched before a failure is gone.
  virtual Status Finish() = 0;
};

}  // namespace k2::metal
