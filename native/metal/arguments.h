// The structs of the kernels' arguments as the host fills them in: every pointer is an address of the device.
#pragma once

#include <cstdint>

#include "metal/device.h"

namespace k2::metal {

using uint = uint32_t;
using uchar = uint8_t;
using WeightBytes = Address;
template <typename T>
using Buffer = Address;

#include "metal/kernels/arguments.inl.h"

}  // namespace k2::metal
