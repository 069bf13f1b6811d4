// A mapped file can lose its pages under us: it shrinks, or its disk fails. The kernel then sends SIGBUS,
// which would end the host process. The guard turns such a fault inside a registered range into zero pages
// and a flag that the engine reads after every step; faults anywhere else go to the handler that was there
// before.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/status.h"

namespace k2 {

// Handle of a registered range; -1 when none.
using FaultRange = int;

// Installs the handler with the first range.
Result<FaultRange> GuardRange(const void* address, size_t size_bytes);
// Whether a fault was seen inside the range.
bool RangeFaulted(FaultRange range);
void UnguardRange(FaultRange range);
// The registered range that holds `address`: a whole mapped file. Empty when there is none.
std::span<const uint8_t> GuardedRange(const void* address);

}  // namespace k2
