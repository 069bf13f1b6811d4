#include "model/kv_cache.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace k2 {

Status KvCache::Reserve(int64_t count) {
  if (trace_) K2_RETURN_IF_ERROR(trace_->Reserve(length_, count));
  const size_t first_written = static_cast<size_t>(length_ / kPageTokens);
  const size_t needed = static_cast<size_t>((length_ + count + kPageTokens - 1) / kPageTokens);
  const auto usable = [&](size_t i) { return i < pages_.size() && pages_[i].use_count() == 1; };
  const size_t page_bytes = static_cast<size_t>(this->page_bytes());
  std::vector<std::pair<size_t, Page>> fresh;
  for (size_t i = first_written; i < needed; ++i) {
    if (usable(i)) continue;
    Result<AlignedBuffer> buffer = AlignedBuffer::Allocate(page_bytes, "a cache page");
    if (!buffer.ok()) return buffer.status();
    fresh.emplace_back(i, std::make_shared<CachePage>(std::move(buffer.value())));
    if (i >= pages_.size()) continue;
    std::memcpy(fresh.back().second->bytes.data(), pages_[i]->bytes.data(), page_bytes);
    fresh.back().second->expanded = pages_[i]->expanded;
  }
  if (fresh.empty()) return {};
  pages_.resize(std::max(pages_.size(), needed));
  for (auto& [i, page] : fresh) pages_[i] = std::move(page);
  Readdress();
  return {};
}

void KvCache::Commit(int64_t count, AttentionForm form) {
  if (trace_) trace_->Commit(length_, count);
  for (const int64_t end = length_ + count; length_ < end; ++length_) {
    const uint64_t bit = uint64_t{1} << (length_ % kPageTokens);
    CachePage& page = *pages_[static_cast<size_t>(length_ / kPageTokens)];
    page.expanded = form == AttentionForm::kExpanded ? page.expanded | bit : page.expanded & ~bit;
    page.stored = false;
  }
}

void KvCache::Adopt(std::vector<Page> pages, int64_t length) {
  addresses_.reserve(static_cast<size_t>(layers_) * pages.size());
  pages_ = std::move(pages);
  length_ = length;
  Readdress();
}

void KvCache::Truncate(int64_t length) {
  if (trace_) trace_->Truncate(length);
  length_ = length;
  const size_t pages = static_cast<size_t>((length + kPageTokens - 1) / kPageTokens);
  if (pages == pages_.size()) return;
  pages_.resize(pages);
  Readdress();
}

void KvCache::Readdress() {
  addresses_.resize(static_cast<size_t>(layers_) * pages_.size());
  for (int64_t layer = 0; layer < layers_; ++layer) {
    for (size_t i = 0; i < pages_.size(); ++i) {
      addresses_[static_cast<size_t>(layer) * pages_.size() + i] =
          pages_[i]->bytes.data() + layer * layer_bytes();
    }
  }
}

CacheView KvCache::Layer(int64_t layer) const {
  return {.pages = {addresses_.data() + static_cast<size_t>(layer) * pages_.size(), pages_.size()},
          .page_tokens = kPageTokens};
}

}  // namespace k2
