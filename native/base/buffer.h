// Owners of memory. AlignedBuffer is the one way in which native code takes large blocks, so that a failed
// allocation is an ordinary Status, and tests can make any allocation fail.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "base/status.h"

namespace k2 {

class AlignedBuffer {
 public:
  static constexpr size_t kAlignment = 64;

  AlignedBuffer() = default;
  AlignedBuffer(AlignedBuffer&& other) noexcept { *this = std::move(other); }
  AlignedBuffer& operator=(AlignedBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~AlignedBuffer();

  // Uninitialised memory; `name` says in the error what the memory was for.
  static Result<AlignedBuffer> Allocate(size_t size_bytes, const char* name);

  // Asks the system for pages of 2 MiB, before the memory is touched; one that has none to give leaves small
  // ones.
  void PreferHugePages();

  uint8_t* data() const { return data_; }
  size_t size() const { return size_; }
  template <typename T>
  T* as() const {
    return reinterpret_cast<T*>(data_);
  }

 private:
  uint8_t* data_ = nullptr;
  size_t size_ = 0;
};

// Bytes held by all AlignedBuffers of the process.
size_t AllocatedBytes();

// For tests: the k-th allocation from now fails (1 = the next one); 0 switches it off.
void FailAllocationForTest(int k);

}  // namespace k2
