#include "engine/draft_index.h"

#include <algorithm>
#include <bit>
#include <utility>

namespace k2 {
namespace {

// Sequences of one slot that are compared; more have it by chance alone.
constexpr int kMostCompared = 8;
constexpr size_t kLeastSlots = 256;

// Tokens before and at both ends that are the same.
size_t CommonLength(std::span<const int32_t> tokens, size_t end, size_t earlier_end) {
  size_t length = 0;
  while (length < DraftIndex::kMostLength && length <= earlier_end &&
         tokens[end - length] == tokens[earlier_end - length]) {
    ++length;
  }
  return length;
}

}  // namespace

size_t DraftIndex::Slot(const Table& table, std::span<const int32_t> tokens, size_t end) {
  uint64_t hash = 0;
  for (size_t i = 0; i < table.length; ++i) {
    hash = (hash ^ static_cast<uint32_t>(tokens[end - i])) * 0x9E3779B97F4A7C15u;
    hash ^= hash >> 32;
  }
  return static_cast<size_t>(hash) & (table.latest.size() - 1);
}

void DraftIndex::Add(Table& table, std::span<const int32_t> tokens, size_t end) {
  if (end + 1 < table.length) {
    table.earlier[end] = -1;
    return;
  }
  int32_t& latest = table.latest[Slot(table, tokens, end)];
  table.earlier[end] = latest;
  latest = static_cast<int32_t>(end);
}

void DraftIndex::Extend(std::span<const int32_t> tokens) {
  if (size_ == tokens.size()) return;
  if (tokens.size() > tables_[0].latest.size()) {
    const size_t slots = std::max(kLeastSlots, 2 * std::bit_ceil(tokens.size()));
    Tables larger = EmptyTables();
    for (Table& table : larger) {
      table.earlier.resize(slots);
      table.latest.assign(slots, -1);
    }
    tables_ = std::move(larger);
    size_ = 0;
  }
  for (Table& table : tables_) {
    for (size_t end = size_; end < tokens.size(); ++end) Add(table, tokens, end);
  }
  size_ = tokens.size();
}

void DraftIndex::Truncate(std::span<const int32_t> tokens, size_t count) {
  if (count >= size_) return;
  // Taking in what stays is less work than taking out what goes.
  if (count < size_ / 2) return Clear();
  for (Table& table : tables_) {
    for (size_t end = size_; end-- > count;) {
      if (end + 1 >= table.length) table.latest[Slot(table, tokens, end)] = table.earlier[end];
    }
  }
  size_ = count;
}

DraftIndex::Match DraftIndex::Find(std::span<const int32_t> tokens) const {
  if (tokens.empty() || size_ != tokens.size()) return {};
  const size_t end = tokens.size() - 1;
  for (const Table& table : tables_) {
    int32_t earlier = table.earlier[end];
    for (int i = 0; i < kMostCompared && earlier >= 0; ++i) {
      const size_t length = CommonLength(tokens, end, static_cast<size_t>(earlier));
      if (length >= table.length) return {static_cast<size_t>(earlier) + 1, length};
      earlier = table.earlier[static_cast<size_t>(earlier)];
    }
  }
  return {};
}

void DraftIndex::Clear() {
  tables_ = EmptyTables();
  size_ = 0;
}

void CopyDraft(std::span<const int32_t> tokens, const DraftIndex::Match& match, size_t count,
               std::vector<int32_t>& draft) {
  const size_t before = draft.size();
  for (size_t i = 0; i < count; ++i) {
    const size_t from = match.next + i;
    draft.push_back(from < tokens.size() ? tokens[from] : draft[before + from - tokens.size()]);
  }
}

}  // namespace k2
