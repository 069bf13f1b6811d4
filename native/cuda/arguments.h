// The structs of the kernels' arguments as the host fills them in: every pointer is an address of the device.
#pragma once

#include <cstdint>

#include "cuda/driver.h"

namespace k2::cuda {

using uint = uint32_t;
using ushort = uint16_t;
using WeightBytes = Address;
template <typename T>
using Buffer = Address;

#include "cuda/kernels/arguments.inl.h"

}  // namespace k2::cuda
