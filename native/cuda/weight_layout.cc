#include "cuda/weight_layout.h"

#include <algorithm>
#include <cstring>

#include "cuda/arguments.h"

namespace k2::cuda {
namespace {

constexpr int64_t kGroup = 32;  // columns of two tensor operations
constexpr int64_t kLaneBytes = 16;

// Bytes of eight numbers: what a lane takes of a row in a group.
int64_t EightBytes(Storage storage) { return storage == Storage::kInt4 ? 4 : 8 * StorageBytes(storage); }
// A byte of zeros. INT4 stores numbers plus 8.
uint8_t Zero(Storage storage) { return storage == Storage::kInt4 ? 0x88 : 0; }

int64_t UnitBytes(Storage storage) { return kTileRows * (kTileColumns / 8) * EightBytes(storage); }
int64_t Units(const Weight& w) { return (w.columns + kTileColumns - 1) / kTileColumns; }

// Columns 8i .. 8i + 7 of a row, zeros where there are none.
void CopyEight(const Weight& w, int64_t row, int64_t i, uint8_t* to) {
  const int64_t bytes = EightBytes(w.storage), first = i * bytes;
  const int64_t there = row < w.rows ? std::clamp<int64_t>(w.row_bytes() - first, 0, bytes) : 0;
  std::memset(to + there, Zero(w.storage), static_cast<size_t>(bytes - there));
  if (there > 0) std::memcpy(to, w.data + row * w.row_bytes() + first, static_cast<size_t>(there));
  if (w.storage != Storage::kInt4) return;
  uint32_t word, apart = 0;
  std::memcpy(&word, to, sizeof word);
  for (int j = 0; j < 4; ++j) {
    apart |= (word >> 8 * j & 0xfu) << 4 * j | (word >> (8 * j + 4) & 0xfu) << (4 * j + 16);
  }
  std::memcpy(to, &apart, sizeof apart);
}

}  // namespace

bool CanBeTiled(const Weight& w) {
  if (w.storage == Storage::kBf16) return true;
  if (w.storage != Storage::kF8E4m3 && w.storage != Storage::kInt4) return false;
  return w.block_columns >= w.columns || w.block_columns % kGroup == 0;
}

int64_t Pieces(const Weight& w, Layout layout) {
  return layout == Layout::kRows ? w.rows : (w.rows + kTileRows - 1) / kTileRows;
}

int64_t PieceBytes(const Weight& w, Layout layout) {
  return layout == Layout::kRows ? (w.row_bytes() + kLaneBytes - 1) / kLaneBytes * kLaneBytes
                                 : Units(w) * UnitBytes(w.storage);
}

void LayOut(const Weight& w, Layout layout, int64_t piece, uint8_t* to) {
  if (layout == Layout::kRows) {
    const size_t bytes = static_cast<size_t>(w.row_bytes());
    std::memcpy(to, w.data + piece * w.row_bytes(), bytes);
    std::memset(to + bytes, Zero(w.storage), static_cast<size_t>(PieceBytes(w, layout)) - bytes);
    return;
  }
  // A unit is, per group of 32 columns: for each lane (row g of eight, column t of four eights) the eight of
  // row g, then of row g + 8. BF16 fills a load with each, FP8 one with both, INT4 one with both groups.
  const int64_t eight = EightBytes(w.storage), groups = kTileColumns / kGroup, halves = 2;
  for (int64_t unit = 0; unit < Units(w); ++unit, to += UnitBytes(w.storage)) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      for (int64_t part = 0; part < groups * halves; ++part) {
        const int64_t row = piece * kTileRows + lane / 4 + part % halves * 8;
        const int64_t column = unit * 8 + part / halves * 4 + lane % 4;
        const int64_t at = part * eight, load = at / kLaneBytes;
        CopyEight(w, row, column, to + load * kLanes * kLaneBytes + lane * kLaneBytes + at % kLaneBytes);
      }
    }
  }
}

}  // namespace k2::cuda
