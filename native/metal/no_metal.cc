// Stands in for the Metal backend where the system has no Metal.
#include "ops/registry.h"

namespace k2 {
namespace {

std::string Reason() { return "Metal is part of macOS, and this build is for another system"; }

}  // namespace

BackendEntry MetalBackendEntry() {
  return {.name = "metal",
          .make = [](const BackendOptions&) -> Result<std::unique_ptr<Backend>> {
            return Status(ErrorCode::kUnavailable,
                          "Expected device \"metal\" to be usable here, got: " + Reason());
          },
          .absent_because = Reason,
          .kernel_sets = [] { return std::string(); }};
}

}  // namespace k2
