#include "base/buffer.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <mutex>
#include <new>
#include <string>
#include <vector>

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

// Apple's GPUs use memory of the host where it lies, if it was mapped and not taken from the heap.
#if defined(__APPLE__)
constexpr size_t kLeastMapped = 16384;
#else
constexpr size_t kLeastMapped = SIZE_MAX;
#endif

void* Take(size_t size) {
  if (size < kLeastMapped) {
    return ::operator new(size, AlignmentOf(size), std::nothrow);
  }
  void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return memory == MAP_FAILED ? nullptr : memory;
}

void Give(void* memory, size_t size) {
  if (size < kLeastMapped) {
    ::operator delete(memory, AlignmentOf(size));
  } else {
    munmap(memory, size);
  }
}

std::atomic<int> listener_count{0};  // nearly always 0, and then nobody locks
std::mutex listeners_mutex;
std::vector<BufferListener*> listeners;

template <typename Tell>
void TellListeners(Tell&& tell) {
  if (listener_count.load(std::memory_order_acquire) == 0) return;
  std::lock_guard lock(listeners_mutex);
  for (BufferListener* listener : listeners) tell(*listener);
}

}  // namespace

AlignedBuffer::~AlignedBuffer() {
  if (data_ == nullptr) return;
  TellListeners([&](BufferListener& listener) { listener.OnRelease(data_); });
  Give(data_, size_);
  allocated_bytes.fetch_sub(size_, std::memory_order_relaxed);
}

Result<AlignedBuffer> AlignedBuffer::Allocate(size_t size_bytes, const char* name) {
  AlignedBuffer buffer;
  if (size_bytes == 0) return buffer;
  void* memory = ShouldFailForTest() ? nullptr : Take(size_bytes);
  if (memory == nullptr) {
    return Status(ErrorCode::kOutOfMemory, "Expected " + std::to_string(size_bytes) + " free bytes for " +
                                               name + ", got a refusal of the system");
  }
  AskForHugePages(memory, size_bytes);
  buffer.data_ = static_cast<uint8_t*>(memory);
  buffer.size_ = size_bytes;
  allocated_bytes.fetch_add(size_bytes, std::memory_order_relaxed);
  TellListeners([&](BufferListener& listener) { listener.OnAllocate(buffer.data_, size_bytes); });
  return buffer;
}

void AddBufferListener(BufferListener* listener) {
  std::lock_guard lock(listeners_mutex);
  listeners.push_back(listener);
  listener_count.fetch_add(1, std::memory_order_release);
}

void RemoveBufferListener(BufferListener* listener) {
  std::lock_guard lock(listeners_mutex);
  listener_count.fetch_sub(1, std::memory_order_release);
  listeners.erase(std::remove(listeners.begin(), listeners.end(), listener), listeners.end());
}

size_t AllocatedBytes() { return allocated_bytes.load(std::memory_order_relaxed); }

void FailAllocationForTest(int k) { failing_allocation.store(k); }

}  // namespace k2
