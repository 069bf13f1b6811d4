// Copies on the device of what ops find in memory of the host. An AlignedBuffer (activations, pages of the
// cache) is copied when the device first uses it, and from then on belongs to the device: the host may read
// it behind a step, and fill it before the first. Anything else is copied for one step. What kernels wrote
// goes back to the host when the step ends.
#pragma once

#include <map>
#include <mutex>
#include <vector>

#include "base/buffer.h"
#include "cuda/arena.h"

namespace k2::cuda {

enum class Access : uint8_t { kRead, kWrite };

class HostMemory final : public BufferListener {
 public:
  explicit HostMemory(Device& device);
  ~HostMemory();

  // Where the bytes are on the device.
  Result<Address> Use(const void* data, size_t bytes, Access access);
  // Waits for the device, and gives the host what was written, if all went well so far.
  Status EndStep(bool is_sound);

  void OnAllocate(const uint8_t* data, size_t size) override;
  void OnRelease(const uint8_t* data) override;

 private:
  struct Block {
    uintptr_t end;
    DeviceMemory memory;
  };
  // Of one step.
  struct Piece {
    uintptr_t first, end;
    Address address;
    bool is_written;
  };

  Result<Address> UsePiece(uintptr_t first, uintptr_t end, Access access);
  void MarkWritten(uintptr_t first, uintptr_t end);
  Status ReadBack();

  Device& device_;
  Arena arena_;
  std::mutex mutex_;                      // of blocks_ and released_, which any thread may change
  std::map<uintptr_t, Block> blocks_;     // AlignedBuffers by their first byte
  std::vector<DeviceMemory> released_;    // to be given back on the device's thread
  std::map<uintptr_t, uintptr_t> dirty_;  // first byte and end of what was written of blocks
  std::vector<Piece> pieces_;
};

}  // namespace k2::cuda
