// CRC-32C (Castagnoli, RFC 3720): finds every burst of up to 32 wrong bits, and anything else but for one
// chance in four thousand million. By the processor's instruction where it has one.
#pragma once

#include <cstddef>
#include <cstdint>

namespace k2 {

// The checksum of `data` behind data whose checksum is `before`; 0 is the checksum of nothing.
uint32_t Crc32c(uint32_t before, const void* data, size_t size);

// The same by tables, as processors without the instruction have it.
uint32_t Crc32cByTable(uint32_t before, const void* data, size_t size);

}  // namespace k2
