#include "model/expert_layout.h"

#include <algorithm>

namespace k2 {
namespace {

// A read of so much more takes less time than another read.
constexpr uint64_t kMostBetween = 64 << 10;

struct Part {
  int32_t file;
  uint64_t offset, bytes;
  uint64_t* place;
};

int32_t FileOf(const Weights& weights, const uint8_t* data, int32_t first_guess) {
  const auto holds = [&](int32_t file) {
    const MappedFile& mapped = weights.files[static_cast<size_t>(file)];
    return data >= mapped.data() && data < mapped.data() + mapped.size();
  };
  if (holds(first_guess)) return first_guess;
  int32_t file = 0;
  while (!holds(file)) ++file;  // LoadWeights has proved that one does
  return file;
}

}  // namespace

ExpertLayout LayOutExpert(const Weights& weights, std::span<const Weight> matrices) {
  ExpertLayout layout;
  std::vector<Part> parts;
  const auto add = [&](const Weight& w, const uint8_t* data, int64_t bytes, uint64_t* place) {
    const int32_t file = FileOf(weights, data, w.file);
    const uint8_t* const begin = weights.files[static_cast<size_t>(file)].data();
    parts.push_back({file, static_cast<uint64_t>(data - begin), static_cast<uint64_t>(bytes), place});
  };
  for (size_t i = 0; i < layout.places.size(); ++i) {
    const Weight& w = matrices[i];
    add(w, w.data, w.rows * w.row_bytes(), &layout.places[i].data);
    if (w.scales != nullptr) add(w, w.scales, w.scale_bytes(), &layout.places[i].scales);
  }
  std::sort(parts.begin(), parts.end(), [](const Part& a, const Part& b) {
    return a.file != b.file ? a.file < b.file : a.offset < b.offset;
  });
  constexpr uint64_t kBlock = DirectFile::kBlockBytes;
  for (const Part& part : parts) {
    Extent* extent = layout.extents.empty() ? nullptr : &layout.extents.back();
    const bool is_near = extent != nullptr && extent->file == part.file &&
                         part.offset <= extent->offset + extent->bytes + kMostBetween;
    if (!is_near) {
      if (extent != nullptr) layout.bytes += extent->bytes;
      extent = &layout.extents.emplace_back();
      extent->file = part.file;
      extent->offset = part.offset / kBlock * kBlock;
    }
    extent->least = std::max(extent->least, part.offset + part.bytes - extent->offset);
    extent->bytes = (extent->least + kBlock - 1) / kBlock * kBlock;
    *part.place = layout.bytes + part.offset - extent->offset;
  }
  layout.bytes += layout.extents.back().bytes;
  return layout;
}

}  // namespace k2
