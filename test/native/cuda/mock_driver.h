// Stands in for CUDA's driver. Copies and launches wait on the stream until somebody waits for it, and
// kernels run in the emulator. Addresses of the device are those of the host.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cuda/driver.h"
#include "cuda/kernel_image.h"
#include "ops/backend.h"

namespace k2::test {

struct MockCuda {
  // What the system has.
  int driver_version = 13000;
  int gpus = 1;
  int compute_major = 9, compute_minor = 0;
  size_t memory = size_t{1} << 40;
  uint64_t seed = 1;  // draws the order of threads
  // What goes wrong.
  int failing_call = 0;  // the k-th call from now that can fail does, with failing_result; 0: none
  cuda::DriverResult failing_result = 719;
  cuda::DriverResult lost_result = 0;  // of every call from now on
  // What was seen.
  size_t used = 0;  // bytes of the device
  long allocations = 0, pinned = 0, contexts = 0, streams = 0, modules = 0, pushed = 0;  // that live
  long waits = 0, copies_to_host = 0;
  std::vector<std::string> launched;
  std::string mistake;  // the first wrong use, empty for none
};

MockCuda& MockGpu();
const cuda::Driver& MockDriver();
const cuda::KernelImage& MockImage();

// Without `is_deferred` every op waits for its end, for callers that look at results without Synchronize or
// give memory back before it.
std::unique_ptr<Backend> MakeEmulatedCuda(uint64_t seed, bool is_deferred);

}  // namespace k2::test
