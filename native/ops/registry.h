// The entries of the backends. Each backend's folder defines its own; a backend that a build leaves out is
// replaced at link time by a stub that says why.
#pragma once

#include "ops/backend.h"

namespace k2 {

BackendEntry CpuBackendEntry();
BackendEntry CudaBackendEntry();
BackendEntry MetalBackendEntry();
BackendEntry ReferenceBackendEntry();

}  // namespace k2
