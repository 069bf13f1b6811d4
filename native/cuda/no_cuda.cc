// Stands in for the CUDA backend in a build that found no nvcc, and so has no kernels.
#include "ops/registry.h"

namespace k2 {
namespace {

std::string Reason() {
  return "this build was made without CUDA's compiler (nvcc), and has no kernels for it";
}

}  // namespace

BackendEntry CudaBackendEntry() {
  return {.name = "cuda",
          .make = [](const BackendOptions&) -> Result<std::unique_ptr<Backend>> {
            return Status(ErrorCode::kUnavailable,
                          "Expected device \"cuda\" to be usable here, got: " + Reason());
          },
          .absent_because = Reason,
          .kernel_sets = [] { return std::string(); }};
}

}  // namespace k2
