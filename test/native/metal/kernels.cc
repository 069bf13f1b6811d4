// The kernels of native/metal, the same text that Apple's compiler reads, as C++ for the emulator.
#include "shim.h"

namespace k2::msl {

#include "metal/kernels/arguments.inl.h"
#include "metal_kernels.inl.h"  // made by CMakeLists.txt from its list of kernel files

}  // namespace k2::msl
