#include "base/fault_guard.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>

namespace k2 {
namespace {

// A fixed table of atomics: the handler may run at any instruction and can neither lock nor allocate.
constexpr int kMaxRanges = 4096;

struct Range {
  std::atomic<uintptr_t> first{0};  // 0: free
  std::atomic<uintptr_t> last{0};
  std::atomic<bool> faulted{false};
};

Range ranges[kMaxRanges];
struct sigaction previous_handler;
std::atomic<bool> installed{false};
std::mutex install_mutex;

Range* FindRange(uintptr_t address) {
  for (Range& range : ranges) {
    const uintptr_t first = range.first.load(std::memory_order_acquire);
    if (first != 0 && address >= first && address < range.last.load(std::memory_order_acquire)) return &range;
  }
  return nullptr;
}

void OnBusError(int signal, siginfo_t* info, void* context) {
  const uintptr_t address = reinterpret_cast<uintptr_t>(info->si_addr);
  if (Range* range = FindRange(address)) {
    const uintptr_t page_size = static_cast<uintptr_t>(getpagesize());
    void* page = reinterpret_cast<void*>(address & ~(page_size - 1));
    if (mmap(page, page_size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED) {
      range->faulted.store(true, std::memory_order_release);
      return;
    }
  }
  if (previous_handler.sa_flags & SA_SIGINFO) {
    previous_handler.sa_sigaction(signal, info, context);
  } else if (previous_handler.sa_handler == SIG_DFL || previous_handler.sa_handler == SIG_IGN) {
    // Restoring the default and returning repeats the fault, which then ends the process as it would without
    // us.
    sigaction(SIGBUS, &previous_handler, nullptr);
  } else {
    previous_handler.sa_handler(signal);
  }
}

Status InstallHandler() {
  std::lock_guard lock(install_mutex);
  if (installed.load()) return {};
  struct sigaction handler = {};
  handler.sa_sigaction = OnBusError;
  handler.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
  sigemptyset(&handler.sa_mask);
  if (sigaction(SIGBUS, &handler, &previous_handler) != 0) {
    return Status(ErrorCode::kIo,
                  "Expected to install the handler for failing file maps, got a refusal of the system");
  }
  installed.store(true);
  return {};
}

}  // namespace

Result<FaultRange> GuardRange(const void* address, size_t size_bytes) {
  K2_RETURN_IF_ERROR(InstallHandler());
  std::lock_guard lock(install_mutex);
  for (int i = 0; i < kMaxRanges; ++i) {
    if (ranges[i].first.load() != 0) continue;
    const uintptr_t first = reinterpret_cast<uintptr_t>(address);
    ranges[i].faulted.store(false);
    ranges[i].last.store(first + size_bytes);
    ranges[i].first.store(first, std::memory_order_release);
    return i;
  }
  return Status(ErrorCode::kIo,
                "Expected at most " + std::to_string(kMaxRanges) + " mapped files in this process, got more");
}

bool RangeFaulted(FaultRange range) {
  return range >= 0 && ranges[range].faulted.load(std::memory_order_acquire);
}

void UnguardRange(FaultRange range) {
  if (range >= 0) ranges[range].first.store(0, std::memory_order_release);
}

std::span<const uint8_t> GuardedRange(const void* address) {
  std::lock_guard lock(install_mutex);
  const Range* range = FindRange(reinterpret_cast<uintptr_t>(address));
  if (range == nullptr) return {};
  const uintptr_t first = range->first.load(), last = range->last.load();
  return {reinterpret_cast<const uint8_t*>(first), static_cast<size_t>(last - first)};
}

}  // namespace k2
