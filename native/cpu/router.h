// The router of the CPU backend: which experts a row is sent to, and with what weights (RouterParams).
#pragma once

#include "base/buffer.h"
#include "base/thread_pool.h"
#include "ops/backend.h"

namespace k2 {

class TopKRouter {
 public:
  static int64_t ScratchBytes(const BackendShapes& shapes, int threads);

  // Called once, before Route; `threads` as in the pool of those calls.
  Status Prepare(const BackendShapes& shapes, int threads);
  void Route(const RouterParams& p, ThreadPool& pool) const;

 private:
  AlignedBuffer memory_;  // the scratch of each thread, then the bias as floats
};

}  // namespace k2
