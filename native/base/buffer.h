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

// Told of every AlignedBuffer that is made after it was added: devices keep maps of them. On the thread that
// takes or gives back the memory; may not take any itself.
class BufferListener {
 public:
  virtual void OnAllocate(const uint8_t* data, size_t size) = 0;
  // The memory is still there.
  virtual void OnRelease(const uint8_t* data) = 0;

 protected:
  ~BufferListener() = default;
};
void AddBufferListener(BufferListener* listener);
void RemoveBufferListener(BufferListener* listener);

// Bytes held by all AlignedBuffers of the process.
size_t AllocatedBytes();

// For tests: the k-th allocation from now fails (1 = the next one); 0 switches it off.
void FailAllocationForTest(int k);

}  // namespace k2
