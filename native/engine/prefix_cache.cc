#include "engine/prefix_cache.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <new>
#include <utility>

namespace k2 {
namespace {

constexpr int64_t kPage = KvCache::kPageTokens;

}  // namespace

uint64_t FormBits(const KvCache& cache, int64_t page, AttentionForm form) {
  const int64_t own = std::clamp<int64_t>(cache.length() - page * kPage, 0, kPage);
  const uint64_t own_rows = own == kPage ? ~uint64_t{0} : (uint64_t{1} << own) - 1;
  const uint64_t own_bits = own == 0 ? 0 : cache.pages()[static_cast<size_t>(page)]->expanded & own_rows;
  return form == AttentionForm::kExpanded ? own_bits | ~own_rows : own_bits;
}

struct PrefixCache::Node {
  Node* parent;
  std::array<int32_t, kPage> ids;
  KvCache::Page page;
  int64_t bytes;
  std::list<Node*>::iterator place = {};
};

PrefixCache::PrefixCache(int64_t byte_cap) : byte_cap_(byte_cap) {}
PrefixCache::~PrefixCache() = default;

PrefixCache::Key PrefixCache::KeyOf(const std::unique_ptr<Node>& node) {
  return {node->parent, node->ids.data(), node->page->expanded};
}

// Ancestors are compared by identity: a node is only ever reached by a path that was compared in full.
bool PrefixCache::Same(const Key& a, const Key& b) {
  return a.parent == b.parent && a.expanded == b.expanded &&
         std::memcmp(a.ids, b.ids, sizeof(int32_t) * kPage) == 0;
}

size_t PrefixCache::Hash::operator()(const Key& key) const {
  uint64_t hash = reinterpret_cast<uintptr_t>(key.parent) ^ key.expanded;
  for (int64_t i = 0; i < kPage; ++i) {
    hash = (hash ^ static_cast<uint32_t>(key.ids[i])) * 0x9E3779B97F4A7C15u;
    hash ^= hash >> 29;
  }
  return static_cast<size_t>(hash);
}

size_t PrefixCache::Hash::operator()(const std::unique_ptr<Node>& node) const { return (*this)(KeyOf(node)); }

PrefixCache::Node* PrefixCache::Find(const Key& key) const {
  const auto found = nodes_.find(key);
  return found == nodes_.end() ? nullptr : found->get();
}

int64_t PrefixCache::Extend(KvCache& cache, std::span<const int32_t> tokens, std::span<const int32_t> next,
                            AttentionForm form) {
  if (by_use_.empty() || next.empty()) return 0;
  const int64_t held = cache.length();
  const int64_t pages = (held + static_cast<int64_t>(next.size()) - 1) / kPage;
  if (pages * kPage <= held) return 0;

  try {
    Node* end = nullptr;
    std::vector<KvCache::Page> found;
    std::array<int32_t, kPage> ids;
    for (int64_t i = 0; i < pages; ++i) {
      // Of this page, `own` positions are those of the session and the rest those of the call.
      const int64_t first = i * kPage, own = std::clamp<int64_t>(held - first, 0, kPage);
      std::copy_n(tokens.begin() + std::min(first, held), own, ids.begin());
      std::copy_n(next.begin() + std::max<int64_t>(first - held, 0), kPage - own, ids.begin() + own);
      Node* const node = Find({end, ids.data(), FormBits(cache, i, form)});
      if (node == nullptr) break;
      end = node;
      found.push_back(node->page);
    }
    const int64_t reached = static_cast<int64_t>(found.size()) * kPage;
    if (reached <= held) return 0;
    cache.Adopt(std::move(found), reached);
    Touch(end);
    return reached - held;
  } catch (const std::bad_alloc&) {
    return 0;  // then everything is computed
  }
}

void PrefixCache::Insert(KvCache& cache, std::span<const int32_t> tokens) {
  if (byte_cap_ == 0) return;
  const size_t whole = static_cast<size_t>(cache.length() / kPage);
  Node* end = nullptr;
  try {
    std::vector<KvCache::Page> pages(cache.pages().begin(), cache.pages().end());
    for (size_t i = 0; i < whole; ++i) {
      const Key key{end, tokens.data() + i * kPage, pages[i]->expanded};
      Node* node = Find(key);
      if (node != nullptr) {
        pages[i] = node->page;
      } else if (node = Add(key, pages[i]); node == nullptr) {
        break;
      }
      end = node;
    }
    cache.Adopt(std::move(pages), cache.length());
  } catch (const std::bad_alloc&) {
    // What was added before is a prefix like any other.
  }
  if (end != nullptr) Touch(end);
  EvictBeyondCap();
}

PrefixCache::Node* PrefixCache::Add(const Key& key, const KvCache::Page& page) {
  auto node = std::make_unique<Node>();
  node->parent = const_cast<Node*>(key.parent);
  std::copy_n(key.ids, kPage, node->ids.begin());
  node->page = page;
  // The node itself, its place in list and table, and its share of the table's buckets.
  node->bytes = static_cast<int64_t>(page->bytes.size() + sizeof(CachePage) + sizeof(Node) + 64);
  Node* const added = node.get();
  by_use_.push_back(added);
  added->place = std::prev(by_use_.end());
  try {
    nodes_.insert(std::move(node));
  } catch (const std::bad_alloc&) {
    by_use_.pop_back();
    return nullptr;
  }
  bytes_ += added->bytes;
  return added;
}

void PrefixCache::Touch(Node* end) {
  for (Node* node = end; node != nullptr; node = node->parent) {
    by_use_.splice(by_use_.begin(), by_use_, node->place);
  }
}

void PrefixCache::EvictBeyondCap() {
  while (bytes_ > byte_cap_) {
    Node* const oldest = by_use_.back();
    bytes_ -= oldest->bytes;
    by_use_.pop_back();
    nodes_.erase(nodes_.find(Key{oldest->parent, oldest->ids.data(), oldest->page->expanded}));
  }
}

void PrefixCache::Clear() {
  nodes_.clear();
  by_use_.clear();
  bytes_ = 0;
}

}  // namespace k2
