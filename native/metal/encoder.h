// Turns views of the host into addresses of the device and hands kernels over. After a failure it does
// nothing more, so that ops need not look at every step; the first failure waits for Finish.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/tensor.h"
#include "metal/arguments.h"
#include "metal/device.h"

namespace k2::metal {

class Encoder {
 public:
  explicit Encoder(Device& device) : device_(device) {}

  // Addresses are 0 after a failure.
  Address Of(const Tensor& tensor);
  Address Of(const void* data, int64_t bytes);
  // Without data for an absent weight. `is_lasting` becomes false where the addresses hold until Finish only.
  WeightArguments Of(const Weight& weight, bool* is_lasting = nullptr);
  template <typename T>
  Address Upload(const std::vector<T>& items) {
    return UploadBytes(items.data(), items.size() * sizeof(T));
  }

  template <typename Arguments>
  void Dispatch(const std::string& kernel, const Arguments& arguments, Grid groups, uint32_t threads) {
    DispatchBytes(kernel, &arguments, sizeof(arguments), groups, threads);
  }

  bool ok() const { return status_.ok(); }
  void Fail(Status status);
  // Waits; returns the first failure since the last call.
  Status Finish();

 private:
  Address UploadBytes(const void* data, size_t bytes);
  void DispatchBytes(const std::string& kernel, const void* arguments, size_t bytes, Grid groups,
                     uint32_t threads);
  Address Keep(const Result<Address>& address);

  Device& device_;
  Status status_;
};

// The part of a kernel's name that says for which format it is.
const char* FormatName(Storage storage);

// Groups of `size` that hold `count`.
inline uint32_t GroupsOf(int64_t count, int64_t size) {
  return static_cast<uint32_t>((count + size - 1) / size);
}
inline uint32_t Narrow(int64_t number) { return static_cast<uint32_t>(number); }

constexpr uint32_t kProductThreads = K2_PRODUCT_SIMDGROUPS * K2_LANES;
constexpr int64_t kProductRows = K2_PRODUCT_SIMDGROUPS * K2_PRODUCT_ROWS;

}  // namespace k2::metal
