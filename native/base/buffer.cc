#include "base/buffer.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <new>
#include <string>

namespace k2 {
namespace {

std::atomic<size_t> allocated_bytes{0};
std::atomic<int> failing_allocation{0};

bool ShouldFailForTest() {
  int k = failing_allocation.load(std::memory_order_relaxed);
  while (k > 0 && !failing_allocation.compare_exchange_weak(k, k - 1)) {
  }
  return k == 1;
}

}  // namespace

AlignedBuffer::~AlignedBuffer() {
  if (data_ == nullptr) return;
  ::operator delete (data_, std::align_val_t{kAlignment});
  allocated_bytes.fetch_sub(size_, std::memory_order_relaxed);
}

Result<AlignedBuffer> AlignedBuffer::Allocate(size_t size_bytes, const char* name) {
  AlignedBuffer buffer;
  if (size_bytes == 0) return buffer;
  void* memory =
      ShouldFailForTest() ? nullptr : ::operator new (size_bytes, std::align_val_t{kAlignment}, std::nothrow);
  if (memory == nullptr) {
    return Status(ErrorCode::kOutOfMemory, "Expected " + std::to_string(size_bytes) + " free bytes for " +
                                               name + ", got a refusal of the system");
  }
  buffer.data_ = static_cast<uint8_t*>(memory);
  buffer.size_ = size_bytes;
  allocated_bytes.fetch_add(size_bytes, std::memory_order_relaxed);
  return buffer;
}

void AlignedBuffer::PreferHugePages() {
#if defined(MADV_HUGEPAGE)
  const uintptr_t page = static_cast<uintptr_t>(getpagesize());
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(data_) + page - 1) / page * page;
  const uintptr_t end = (reinterpret_cast<uintptr_t>(data_) + size_) / page * page;
  if (begin < end) (void)madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#endif
}

size_t AllocatedBytes() { return allocated_bytes.load(std::memory_order_relaxed); }

void FailAllocationForTest(int k) { failing_allocation.store(k); }

}  // namespace k2
