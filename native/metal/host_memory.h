// Memory of the host as buffers of Metal that copy nothing. A buffer begins and ends at a page; mapped files
// and AlignedBuffers are wrapped whole, once; anything else for one step.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <vector>

#include "base/buffer.h"
#include "metal/device.h"
#include "metal/objc.h"

namespace k2::metal {

class HostMemory final : public BufferListener {
 public:
  // `longest` is the most bytes of one buffer.
  HostMemory(objc::Object device, uint64_t longest);
  ~HostMemory();

  Result<Address> Share(const void* data, size_t bytes);
  Result<SharedWeight> ShareWeight(const void* data, size_t bytes);
  void EndStep();

  // Tells the encoder, null for none, of all buffers that kernels may now reach, those of later calls
  // included.
  void SetEncoder(objc::Object encoder);

  void OnAllocate(const uint8_t* data, size_t size) override;
  void OnRelease(const uint8_t* data) override;

 private:
  struct Buffer {
    objc::Ref buffer;
    uintptr_t first = 0, end = 0;  // of the host
    Address address = 0;

    bool Holds(uintptr_t from, uintptr_t to) const { return buffer && from >= first && to <= end; }
    Address At(uintptr_t at) const { return address + (at - first); }
  };
  struct Block {
    uintptr_t end;
    Buffer buffer;
  };

  Result<Buffer> Wrap(uintptr_t first, uintptr_t end);
  void Use(const Buffer& buffer) const;

  const objc::Object device_;
  const uint64_t longest_;
  const uintptr_t page_;
  objc::Object encoder_ = nullptr;
  std::mutex mutex_;                        // of blocks_, which any thread may change
  std::map<uintptr_t, Block> blocks_;       // AlignedBuffers by their first byte
  std::multimap<uintptr_t, Buffer> files_;  // windows of mapped files by their first byte
  std::vector<Buffer> of_step_;
};

}  // namespace k2::metal
