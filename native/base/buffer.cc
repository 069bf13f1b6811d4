#include "base/buffer.h"

#include <sys/mman.h>

#include <cstdlib>
#include <new>
#include <string>

namespace k2 {
namespace {

std::atomic<size_t> allocated_bytes{0};
std::atomic<int> failing_allocation{0};

// Where the processor's huge pages are larger, small ones serve.
constexpr size_t kHugePage = size_t{2} << 20;

std::align_val_t AlignmentOf(size_t size_bytes) {
  return std::align_val_t{size_bytes < kHugePage ? AlignedBuffer::kAlignment : kHugePage};
}

// Whole huge pages only: what is left at the end would take memory that nobody asked for. Never required: a
// refusal leaves small pages.
void AskForHugePages(void* memory, size_t size_bytes) {
#if defined(MADV_HUGEPAGE)
  if (size_bytes >= kHugePage) (void)madvise(memory, size_bytes / kHugePage * kHugePage, MADV_HUGEPAGE);
#else
  (void)memory;
  (void)size_bytes;
#endif
}

bool ShouldFailForTest() {
  int k = failing_allocation.load(std::memory_order_relaxed);
  while (k > 0 && !failing_allocation.compare_exchange_weak(k, k - 1)) {
  }
  return k == 1;
}

}  // namespace

AlignedBuffer::~AlignedBuffer() {
  if (data_ == nullptr) return;
  ::operator delete(data_, AlignmentOf(size_));
  allocated_bytes.fetch_sub(size_, std::memory_order_relaxed);
}

Result<AlignedBuffer> AlignedBuffer::Allocate(size_t size_bytes, const char* name) {
  AlignedBuffer buffer;
  if (size_bytes == 0) return buffer;
  void* memory =
      ShouldFailForTest() ? nullptr : ::operator new(size_bytes, AlignmentOf(size_bytes), std::nothrow);
  if (memory == nullptr) {
    return Status(ErrorCode::kOutOfMemory, "Expected " + std::to_string(size_bytes) + " free bytes for " +
                                               name + ", got a refusal of the system");
  }
  AskForHugePages(memory, size_bytes);
  buffer.data_ = static_cast<uint8_t*>(memory);
  buffer.size_ = size_bytes;
  allocated_bytes.fetch_add(size_bytes, std::memory_order_relaxed);
  return buffer;
}

size_t AllocatedBytes() { return allocated_bytes.load(std::memory_order_relaxed); }

void FailAllocationForTest(int k) { failing_allocation.store(k); }

}  // namespace k2
