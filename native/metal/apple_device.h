// The device of the Metal backend on a Mac: one command buffer a step, kernels compiled when the model is
// loaded.
#pragma once

#include <memory>

#include "metal/device.h"

namespace k2::metal {

// The GPU of the system. `source` is the text of all kernels (kernel_source.h).
Result<std::unique_ptr<Device>> MakeAppleDevice(const char* source);

}  // namespace k2::metal
