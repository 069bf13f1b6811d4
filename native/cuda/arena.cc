#include "cuda/arena.h"

#include <algorithm>

namespace k2::cuda {

Result<Address> Arena::Take(size_t bytes) {
  bytes = (bytes + 255) / 256 * 256;
  for (; chunk_ < chunks_.size(); ++chunk_, used_ = 0) {
    if (chunks_[chunk_].size() - used_ < bytes) continue;
    const Address address = chunks_[chunk_].address() + used_;
    used_ += bytes;
    return address;
  }
  Result<DeviceMemory> chunk = device_.Allocate(std::max(bytes, chunk_bytes_), name_);
  // What is larger than a chunk, or than what is left of the memory, has one of its own.
  if (!chunk.ok() && bytes < chunk_bytes_) chunk = device_.Allocate(bytes, name_);
  if (!chunk.ok()) return chunk.status();
  chunks_.push_back(std::move(chunk.value()));
  used_ = bytes;
  return chunks_.back().address();
}

void Arena::Clear() { chunk_ = used_ = 0; }

}  // namespace k2::cuda
