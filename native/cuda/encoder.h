// Turns views of the host into addresses of the device and hands kernels over. After a failure it does
// nothing more, so that ops need not look at every step; the first failure waits for Finish.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/tensor.h"
#include "cuda/host_memory.h"
#include "cuda/weight_memory.h"

namespace k2::cuda {

class Encoder {
 public:
  explicit Encoder(Device& device);

  // Addresses are 0 after a failure.
  Address Read(const Tensor& tensor) { return Use(tensor, Access::kRead); }
  Address Write(const Tensor& tensor) { return Use(tensor, Access::kWrite); }
  Address Use(const void* data, int64_t bytes, Access access);
  WeightArguments Of(const Weight& weight, Layout layout, bool* is_lasting = nullptr);
  // A copy, until Finish.
  template <typename T>
  Address Upload(const std::vector<T>& items) {
    return UploadBytes(items.data(), items.size() * sizeof(T));
  }

  template <typename Arguments>
  void Launch(const std::string& kernel, const Arguments& arguments, Grid blocks, uint32_t threads) {
    if (ok()) Fail(device_.Launch(kernel, &arguments, sizeof(arguments), blocks, threads));
  }

  bool ok() const { return status_.ok(); }
  // A status that is ok changes nothing.
  void Fail(Status status);
  // Waits; returns the first failure since the last call.
  Status Finish();

  Device& device() { return device_; }

 private:
  Address Use(const Tensor& tensor, Access access);
  Address UploadBytes(const void* data, size_t bytes);

  Device& device_;
  HostMemory host_;
  WeightMemory weights_;
  Arena uploads_;
  Status status_;
};

// The part of a kernel's name that says for which format it is.
const char* FormatName(Storage storage);

// Groups of `size` that hold `count`.
inline uint32_t GroupsOf(int64_t count, int64_t size) {
  return static_cast<uint32_t>((count + size - 1) / size);
}
inline uint32_t Narrow(int64_t number) { return static_cast<uint32_t>(number); }
// One thread per number: blocks of columns, and rows.
inline Grid RowGrid(int64_t columns, int64_t rows) { return {GroupsOf(columns, kRowThreads), Narrow(rows)}; }

}  // namespace k2::cuda
