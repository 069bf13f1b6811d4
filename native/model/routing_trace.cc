#include "model/routing_trace.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace k2 {
namespace {

constexpr uint16_t kNoExpert = 0xffff;

}  // namespace

float* RoutingTrace::Weights(const Page& page, int64_t position) const {
  return page.memory->as<float>() + position % kPageTokens * width();
}

uint16_t* RoutingTrace::Experts(const Page& page, int64_t position) const {
  return reinterpret_cast<uint16_t*>(page.memory->as<float>() + kPageTokens * width()) +
         position % kPageTokens * width();
}

Status RoutingTrace::Reserve(int64_t first, int64_t count) {
  const size_t page_bytes = static_cast<size_t>(kPageTokens * width()) * (sizeof(float) + sizeof(uint16_t));
  const size_t needed = static_cast<size_t>((first + count + kPageTokens - 1) / kPageTokens);
  pages_.resize(std::max(pages_.size(), needed));
  for (size_t i = static_cast<size_t>(first / kPageTokens); i < needed; ++i) {
    Page& page = pages_[i];
    if (page.memory.use_count() == 1) continue;
    Result<AlignedBuffer> fresh = AlignedBuffer::Allocate(page_bytes, "a page of the routing trace");
    if (!fresh.ok()) return fresh.status();
    auto memory = std::make_shared<AlignedBuffer>(std::move(fresh.value()));
    if (page.memory != nullptr) std::memcpy(memory->data(), page.memory->data(), page_bytes);
    page.memory = std::move(memory);
  }
  return {};
}

void RoutingTrace::Write(int64_t position, int64_t moe_layer, const int32_t* ids, const float* weights) {
  const Page& page = pages_[static_cast<size_t>(position / kPageTokens)];
  const int64_t column = moe_layer * chosen_;
  std::copy_n(weights, chosen_, Weights(page, position) + column);
  uint16_t* const experts = Experts(page, position) + column;
  for (int64_t j = 0; j < chosen_; ++j) experts[j] = static_cast<uint16_t>(ids[j]);
}

void RoutingTrace::Commit(int64_t first, int64_t count) {
  for (int64_t position = first; position < first + count; ++position) {
    pages_[static_cast<size_t>(position / kPageTokens)].known |= uint64_t{1} << (position % kPageTokens);
  }
}

void RoutingTrace::Truncate(int64_t length) {
  const size_t kept = static_cast<size_t>((length + kPageTokens - 1) / kPageTokens);
  if (kept > pages_.size()) return;
  pages_.resize(kept);
  const int64_t rows = length % kPageTokens;
  if (rows != 0) pages_.back().known &= (uint64_t{1} << rows) - 1;
}

void RoutingTrace::Read(int64_t first, const RoutingRows& rows) const {
  const int64_t width = this->width();
  for (int64_t i = 0; i < rows.count; ++i) {
    const int64_t position = first + i;
    const size_t index = static_cast<size_t>(position / kPageTokens);
    const bool known = index < pages_.size() && (pages_[index].known >> (position % kPageTokens) & 1) != 0;
    rows.known[i] = known ? 1 : 0;
    if (known) {
      std::copy_n(Experts(pages_[index], position), width, rows.experts + i * width);
      std::copy_n(Weights(pages_[index], position), width, rows.weights + i * width);
    } else {
      std::fill_n(rows.experts + i * width, width, kNoExpert);
      std::fill_n(rows.weights + i * width, width, 0.0f);
    }
  }
}

}  // namespace k2
