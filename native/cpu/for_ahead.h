// A parallel loop in which a thread knows its next task when it starts one, so that it can ask memory for the
// next task's bytes while it computes.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "base/thread_pool.h"

namespace k2 {

// Calls body(task, next, thread) once for every task in [0, n), each thread in ascending order; `next` is -1
// for a thread's last task. A stop (ThreadPool::StopWhenNot) leaves out what has not begun.
template <typename Body>
void ForAhead(ThreadPool& pool, int64_t n, const Body& body) {
  std::atomic<int64_t> taken{0};
  const int64_t takers = std::min<int64_t>(n, pool.threads());
  pool.For(takers, 1, [&](int64_t, int64_t, int thread) {
    int64_t task = taken.fetch_add(1, std::memory_order_relaxed);
    while (task < n && pool.KeepGoing(thread)) {
      const int64_t next = taken.fetch_add(1, std::memory_order_relaxed);
      body(task, next < n ? next : -1, thread);
      task = next;
    }
  });
}

}  // namespace k2
