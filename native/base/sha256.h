// SHA-256 (FIPS 180-4): the name of content that nobody can find a second content for.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

namespace k2 {

using Sha256Digest = std::array<uint8_t, 32>;

class Sha256 {
 public:
  void Add(const void* data, size_t size);
  // A number of fixed width, whatever the type of the caller's variable.
  void AddInteger(uint64_t value) { Add(&value, sizeof value); }
  // With its length before it, so that two texts never run into one another.
  void AddText(const std::string& text);
  // Ends the content; called once.
  Sha256Digest Finish();

 private:
  void Absorb(const uint8_t* block);

  std::array<uint32_t, 8> state_ = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                    0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<uint8_t, 64> block_ = {};
  uint64_t size_ = 0;  // bytes in all
};

// 64 lower-case digits.
std::string ToHex(const Sha256Digest& digest);

}  // namespace k2
