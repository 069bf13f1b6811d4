// The number formats of checkpoints, and exact conversions between them and float.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

namespace k2 {

// The order is part of the contract with TypeScript (lib/addon/contract.ts, enum Storage).
enum class Storage : uint8_t {
  kBf16,
  kF16,
  kF32,
  kF8E4m3,  // with a scale per block of rows and columns: w = value * scale
  kInt4,    // offset-binary nibbles, low nibble first, a scale per group of columns: w = (nibble - 8) * scale
};

const char* StorageName(Storage storage);

// Bytes of one number; INT4 has no whole number of bytes and gives 0.
constexpr int64_t StorageBytes(Storage storage) {
  switch (storage) {
    case Storage::kBf16:
    case Storage::kF16:
      return 2;
    case Storage::kF32:
      return 4;
    case Storage::kF8E4m3:
      return 1;
    case Storage::kInt4:
      return 0;
  }
  return 0;
}

inline float Bf16ToFloat(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

// Round to nearest, ties to even. NaN stays NaN (the quiet bit is set so that rounding cannot make it
// infinity).
inline uint16_t FloatToBf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((bits >> 16) | 0x40u);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

inline float F16ToFloat(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16;
  const uint32_t exponent = (bits >> 10) & 0x1fu;
  const uint32_t mantissa = bits & 0x3ffu;
  if (exponent == 0x1f) return std::bit_cast<float>(sign | 0x7f800000u | (mantissa << 13));
  if (exponent != 0) return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
  const float subnormal = static_cast<float>(mantissa) * 0x1p-24f;
  return sign ? -subnormal : subnormal;
}

// OCP e4m3fn: bias 7, no infinities, 0x7f and 0xff are NaN, largest 448, subnormals in steps of 2^-9.
inline float E4m3ToFloat(uint8_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x80u) << 24;
  const uint32_t exponent = (bits >> 3) & 0xfu;
  const uint32_t mantissa = bits & 0x7u;
  if ((bits & 0x7fu) == 0x7fu) return std::bit_cast<float>(sign | 0x7fc00000u);
  if (exponent != 0) return std::bit_cast<float>(sign | ((exponent + 120) << 23) | (mantissa << 20));
  const float subnormal = static_cast<float>(mantissa) * 0x1p-9f;
  return sign ? -subnormal : subnormal;
}

template <typename T>
inline T LoadUnaligned(const void* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof(T));
  return value;
}

// One number of a plain array (not INT4) as float. `data` may be unaligned: safetensors promises no
// alignment.
inline float LoadAsFloat(const uint8_t* data, Storage storage, int64_t index) {
  switch (storage) {
    case Storage::kBf16:
      return Bf16ToFloat(LoadUnaligned<uint16_t>(data + 2 * index));
    case Storage::kF16:
      return F16ToFloat(LoadUnaligned<uint16_t>(data + 2 * index));
    case Storage::kF32:
      return LoadUnaligned<float>(data + 4 * index);
    case Storage::kF8E4m3:
      return E4m3ToFloat(data[index]);
    case Storage::kInt4:
      break;
  }
  return 0.0f;
}

}  // namespace k2
