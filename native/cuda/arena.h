// Pieces of device memory that are given back together, cut from chunks that are kept.
#pragma once

#include <vector>

#include "cuda/device.h"

namespace k2::cuda {

class Arena {
 public:
  // `name` says in errors what the memory was for.
  Arena(Device& device, size_t chunk_bytes, const char* name)
      : device_(device), chunk_bytes_(chunk_bytes), name_(name) {}

  // At a multiple of 256 bytes.
  Result<Address> Take(size_t bytes);
  // All pieces are free again; nothing that runs may use one.
  void Clear();

 private:
  Device& device_;
  const size_t chunk_bytes_;
  const char* const name_;
  std::vector<DeviceMemory> chunks_;
  size_t chunk_ = 0, used_ = 0;  // the one that pieces are cut from, and how much of it
};

}  // namespace k2::cuda
