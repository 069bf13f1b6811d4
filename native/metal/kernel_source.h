// The text of all kernels, the prelude first, as CMakeLists.txt puts it together.
#pragma once

namespace k2::metal {

extern const char kKernelSource[];

}  // namespace k2::metal
