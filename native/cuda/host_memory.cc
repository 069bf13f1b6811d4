#include "cuda/host_memory.h"

#include <algorithm>
#include <new>

namespace k2::cuda {
namespace {

constexpr size_t kChunkBytes = size_t{1} << 20;

uintptr_t Number(const void* data) { return reinterpret_cast<uintptr_t>(data); }
void* Data(uintptr_t number) { return reinterpret_cast<void*>(number); }

}  // namespace

HostMemory::HostMemory(Device& device) : device_(device), arena_(device, kChunkBytes, "a step") {
  AddBufferListener(this);
}

HostMemory::~HostMemory() { RemoveBufferListener(this); }

Result<Address> HostMemory::Use(const void* data, size_t bytes, Access access) {
  const uintptr_t first = Number(data), end = first + bytes;
  DeviceMemory* memory = nullptr;
  uintptr_t begin = 0, block_end = 0;
  {
    std::lock_guard lock(mutex_);
    auto found = blocks_.upper_bound(first);
    if (found != blocks_.begin() && end <= (--found)->second.end) {
      memory = &found->second.memory;
      begin = found->first;
      block_end = found->second.end;
    }
  }
  // A block in use is released by nobody, and nodes of a map stay where they are.
  if (memory == nullptr) return UsePiece(first, end, access);
  if (memory->address() == 0) {
    Result<DeviceMemory> made = device_.Allocate(block_end - begin, "activations and cache");
    if (!made.ok()) return made.status();
    K2_RETURN_IF_ERROR(device_.Write(made.value().address(), Data(begin), block_end - begin));
    *memory = std::move(made.value());
  }
  if (access == Access::kWrite) MarkWritten(first, end);
  return memory->address() + (first - begin);
}

// Pieces of a step do not overlap. One that does takes the place of all that it meets: these are read back
// first, and stay readable for kernels that know their addresses.
Result<Address> HostMemory::UsePiece(uintptr_t first, uintptr_t end, Access access) {
  const auto meets = [&](const Piece& piece) { return piece.first < end && first < piece.end; };
  auto met = std::find_if(pieces_.begin(), pieces_.end(), meets);
  if (met != pieces_.end() && met->first <= first && end <= met->end) {
    met->is_written |= access == Access::kWrite;
    return met->address + (first - met->first);
  }
  Piece whole{first, end, 0, access == Access::kWrite};
  if (met != pieces_.end()) {
    K2_RETURN_IF_ERROR(ReadBack());
    for (const Piece& piece : pieces_) {
      if (!meets(piece)) continue;
      whole.first = std::min(whole.first, piece.first);
      whole.end = std::max(whole.end, piece.end);
    }
    std::erase_if(pieces_, meets);
  }
  Result<Address> address = arena_.Take(whole.end - whole.first);
  if (!address.ok()) return address.status();
  whole.address = address.value();
  K2_RETURN_IF_ERROR(device_.Write(whole.address, Data(whole.first), whole.end - whole.first));
  pieces_.push_back(whole);
  return whole.address + (first - whole.first);
}

void HostMemory::MarkWritten(uintptr_t first, uintptr_t end) {
  auto next = dirty_.upper_bound(first);
  if (next != dirty_.begin() && std::prev(next)->second >= first) --next;
  for (; next != dirty_.end() && next->first <= end; next = dirty_.erase(next)) {
    first = std::min(first, next->first);
    end = std::max(end, next->second);
  }
  dirty_[first] = end;
}

Status HostMemory::ReadBack() {
  for (Piece& piece : pieces_) {
    if (!piece.is_written) continue;
    K2_RETURN_IF_ERROR(device_.Read(Data(piece.first), piece.address, piece.end - piece.first));
    piece.is_written = false;
  }
  std::lock_guard lock(mutex_);
  for (const auto& [first, end] : dirty_) {
    // A block that was released in the meantime has nobody to read it.
    const auto block = blocks_.upper_bound(first);
    if (block == blocks_.begin() || std::prev(block)->second.end < end) continue;
    const DeviceMemory& memory = std::prev(block)->second.memory;
    if (memory.address() == 0) continue;
    const Address from = memory.address() + (first - std::prev(block)->first);
    K2_RETURN_IF_ERROR(device_.Read(Data(first), from, end - first));
  }
  dirty_.clear();
  return device_.Finish();
}

Status HostMemory::EndStep(bool is_sound) {
  Status status = device_.Finish();
  if (status.ok() && is_sound) status = ReadBack();
  pieces_.clear();
  dirty_.clear();
  arena_.Clear();
  std::lock_guard lock(mutex_);
  released_.clear();
  return status;
}

void HostMemory::OnAllocate(const uint8_t* data, size_t size) {
  std::lock_guard lock(mutex_);
  try {
    blocks_[Number(data)] = {Number(data) + size, {}};
  } catch (const std::bad_alloc&) {
    // Not known, then: copied for each step that uses it.
  }
}

void HostMemory::OnRelease(const uint8_t* data) {
  std::lock_guard lock(mutex_);
  const auto block = blocks_.find(Number(data));
  if (block == blocks_.end()) return;
  try {
    if (block->second.memory.address() != 0) released_.push_back(std::move(block->second.memory));
  } catch (const std::bad_alloc&) {
    // Given back here, then; the driver allows it on any thread.
  }
  blocks_.erase(block);
}

}  // namespace k2::cuda
