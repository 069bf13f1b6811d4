#include "base/crc32c.h"

#include <array>
#include <cstring>

#include "base/cpu_features.h"

namespace k2 {
namespace {

constexpr uint32_t kReversedPolynomial = 0x82f63b78;

// Table k holds the checksums of one byte followed by k zero bytes, so that eight bytes are one step.
using Tables = std::array<std::array<uint32_t, 256>, 8>;

constexpr Tables MakeTables() {
  Tables tables = {};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (crc & 1 ? kReversedPolynomial : 0);
    tables[0][byte] = crc;
  }
  for (size_t k = 1; k < tables.size(); ++k) {
    for (size_t byte = 0; byte < 256; ++byte) {
      const uint32_t crc = tables[k - 1][byte];
      tables[k][byte] = (crc >> 8) ^ tables[0][crc & 0xff];
    }
  }
  return tables;
}

constexpr Tables kTables = MakeTables();

uint64_t LoadWord(const uint8_t* bytes) {
  uint64_t word;
  std::memcpy(&word, bytes, sizeof word);
  return word;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) uint32_t ByInstruction(uint32_t before, const uint8_t* bytes, size_t size) {
  uint64_t crc = ~before;
  for (; size >= 8; size -= 8, bytes += 8) crc = __builtin_ia32_crc32di(crc, LoadWord(bytes));
  uint32_t rest = static_cast<uint32_t>(crc);
  for (; size > 0; --size, ++bytes) rest = __builtin_ia32_crc32qi(rest, *bytes);
  return ~rest;
}
#else
uint32_t ByInstruction(uint32_t before, const uint8_t* bytes, size_t size) {
  return Crc32cByTable(before, bytes, size);
}
#endif

}  // namespace

uint32_t Crc32cByTable(uint32_t before, const void* data, size_t size) {
  const uint8_t* bytes = static_cast<const uint8_t*>(data);
  uint32_t crc = ~before;
  for (; size >= 8; size -= 8, bytes += 8) {
    const uint64_t word = LoadWord(bytes) ^ crc;
    crc = 0;
    for (size_t k = 0; k < 8; ++k) crc ^= kTables[7 - k][(word >> (8 * k)) & 0xff];
  }
  for (; size > 0; --size, ++bytes) crc = (crc >> 8) ^ kTables[0][(crc ^ *bytes) & 0xff];
  return ~crc;
}

uint32_t Crc32c(uint32_t before, const void* data, size_t size) {
  const uint8_t* bytes = static_cast<const uint8_t*>(data);
  return DetectCpu().crc32c ? ByInstruction(before, bytes, size) : Crc32cByTable(before, bytes, size);
}

}  // namespace k2
