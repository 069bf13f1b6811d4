// The Metal backend on the emulator. Addresses of the device are those of the host.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "metal/device.h"
#include "ops/backend.h"

namespace k2::test {

enum class When {
  kAtOnce,  // for callers that look at results without Synchronize
  kAtFinish,
};

class EmulatedDevice final : public metal::Device {
 public:
  // `seed` draws the order of threads.
  explicit EmulatedDevice(uint64_t seed, When when) : seed_(seed), when_(when) {}

  std::string name() const override { return "the emulator"; }
  Result<int> Kernel(const std::string& name) override;
  Result<std::unique_ptr<metal::DeviceMemory>> Allocate(size_t bytes, const char* name) override;
  Result<metal::Address> Share(const void* data, size_t bytes) override;
  Result<metal::SharedWeight> ShareWeight(const void* data, size_t bytes) override;
  Result<metal::Address> Upload(const void* data, size_t bytes) override;
  Status Dispatch(int kernel, const void* arguments, size_t bytes, metal::Grid groups,
                  uint32_t threads) override;
  Status Finish() override;

  // Names of the kernels dispatched so far.
  std::vector<std::string> dispatched;
  // Whether weights lie in files that stay mapped, so that tables of them are kept.
  bool weights_last = false;
  // Makes the k-th call from now fail that can (1 = the next one); 0 switches it off.
  int failing_call = 0;

 private:
  struct Dispatched {
    int kernel;
    std::vector<uint8_t> arguments;
    metal::Grid groups;
    uint32_t threads;
  };
  Status MayFail(const char* what);
  Status RunPending();

  uint64_t seed_;
  When when_;
  std::vector<Dispatched> pending_;
  std::vector<std::unique_ptr<uint8_t[]>> uploads_;
};

std::unique_ptr<Backend> MakeEmulatedMetal(uint64_t seed, When when);

}  // namespace k2::test
