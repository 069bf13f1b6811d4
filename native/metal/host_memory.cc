#include "metal/host_memory.h"

#include <unistd.h>

#include <new>
#include <span>

#include "base/fault_guard.h"

namespace k2::metal {
namespace {

constexpr unsigned long kReadAndWrite = 3;  // MTLResourceUsageRead | MTLResourceUsageWrite

uintptr_t Number(const void* data) { return reinterpret_cast<uintptr_t>(data); }

}  // namespace

HostMemory::HostMemory(objc::Object device, uint64_t longest)
    : device_(device), longest_(longest), page_(static_cast<uintptr_t>(getpagesize())) {
  AddBufferListener(this);
}

HostMemory::~HostMemory() { RemoveBufferListener(this); }

Result<HostMemory::Buffer> HostMemory::Wrap(uintptr_t first, uintptr_t end) {
  first = first / page_ * page_;
  end = (end + page_ - 1) / page_ * page_;
  const std::string size = std::to_string(end - first);
  if (end - first > longest_) {
    return Status(ErrorCode::kUnavailable, "Expected at most " + std::to_string(longest_) +
                                               " bytes for a buffer of this GPU, got " + size);
  }
  Buffer buffer;
  // Options 0: shared by processor and GPU. Without a deallocator: the memory stays ours.
  buffer.buffer = objc::Ref::Adopt(
      objc::Send<"newBufferWithBytesNoCopy:length:options:deallocator:", objc::Object, void*, unsigned long,
                 unsigned long, void*>(device_, reinterpret_cast<void*>(first), end - first, 0, nullptr));
  if (!buffer.buffer) {
    return Status(ErrorCode::kOutOfMemory,
                  "Expected Metal to take " + size + " bytes of the process as a buffer, got a refusal");
  }
  buffer.first = first;
  buffer.end = end;
  buffer.address = objc::Send<"gpuAddress", uint64_t>(buffer.buffer.get());
  Use(buffer);
  return buffer;
}

void HostMemory::Use(const Buffer& buffer) const {
  if (encoder_ == nullptr || !buffer.buffer) return;
  objc::Send<"useResource:usage:", void, objc::Object, unsigned long>(encoder_, buffer.buffer.get(),
                                                                      kReadAndWrite);
}

void HostMemory::SetEncoder(objc::Object encoder) {
  encoder_ = encoder;
  std::lock_guard lock(mutex_);
  for (const auto& [first, block] : blocks_) Use(block.buffer);
  for (const auto& [first, buffer] : files_) Use(buffer);
  for (const Buffer& buffer : of_step_) Use(buffer);
}

Result<Address> HostMemory::Share(const void* data, size_t bytes) {
  const uintptr_t from = Number(data), to = from + bytes;
  {
    std::lock_guard lock(mutex_);
    auto block = blocks_.upper_bound(from);
    if (block != blocks_.begin() && to <= (--block)->second.end) {
      Buffer& buffer = block->second.buffer;
      if (!buffer.buffer) {
        Result<Buffer> wrapped = Wrap(block->first, block->second.end);
        if (!wrapped.ok()) return wrapped.status();
        buffer = std::move(wrapped.value());
      }
      return buffer.At(from);
    }
  }
  for (const Buffer& buffer : of_step_) {
    if (buffer.Holds(from, to)) return buffer.At(from);
  }
  Result<Buffer> wrapped = Wrap(from, to);
  if (!wrapped.ok()) return wrapped.status();
  of_step_.push_back(std::move(wrapped.value()));
  return of_step_.back().At(from);
}

// A file may be longer than a buffer can be. It is cut into windows that begin every half of that length, so
// that a weight of at most half of it lies whole in one of them.
Result<SharedWeight> HostMemory::ShareWeight(const void* data, size_t bytes) {
  const uintptr_t from = Number(data), to = from + bytes;
  for (auto known = files_.upper_bound(from); known != files_.begin();) {
    if ((--known)->second.Holds(from, to)) return SharedWeight{known->second.At(from), true};
  }
  const std::span<const uint8_t> file = GuardedRange(data);
  if (file.empty()) {
    Result<Address> address = Share(data, bytes);
    if (!address.ok()) return address.status();
    return SharedWeight{address.value(), false};
  }
  const uintptr_t start = Number(file.data()), end = start + file.size();
  const uintptr_t stride = longest_ / 2 / page_ * page_, longest = longest_ / page_ * page_;
  uintptr_t first = start, last = end;
  if (file.size() > longest) {
    first = start + (from - start) / stride * stride;
    last = first + longest < end ? first + longest : end;
    if (to > last) {
      first = from;
      last = to;
    }
  }
  Result<Buffer> wrapped = Wrap(first, last);
  if (!wrapped.ok()) return wrapped.status();
  const Address address = wrapped.value().At(from);
  const uintptr_t begin = wrapped.value().first;
  files_.emplace(begin, std::move(wrapped.value()));
  return SharedWeight{address, true};
}

void HostMemory::EndStep() { of_step_.clear(); }

void HostMemory::OnAllocate(const uint8_t* data, size_t size) {
  std::lock_guard lock(mutex_);
  try {
    blocks_[Number(data)] = {Number(data) + size, {}};
  } catch (const std::bad_alloc&) {
    // Not known, then: wrapped for each step that uses it.
  }
}

void HostMemory::OnRelease(const uint8_t* data) {
  std::lock_guard lock(mutex_);
  blocks_.erase(Number(data));
}

}  // namespace k2::metal
