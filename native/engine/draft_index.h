// Where on a timeline its last tokens occurred before: what followed there is a guess at what comes next.
//
// For each of two lengths of token sequences a table from the hash of a sequence to its latest occurrence,
// chained to the earlier ones, so that a token enters in constant time and leaves again without a trace.
// Whatever is found was compared token by token.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace k2 {

class DraftIndex {
 public:
  struct Match {
    size_t next = 0;    // position behind the earlier occurrence
    size_t length = 0;  // tokens that both have in common, at most kMostLength; 0: none found
  };
  static constexpr size_t kMostLength = 32;

  // Takes in the tokens of the timeline that are new; it knows those before. Amortised constant time a token.
  void Extend(std::span<const int32_t> tokens);
  // To be called before the timeline `tokens` is cut to `count` of them.
  void Truncate(std::span<const int32_t> tokens, size_t count);
  // The latest earlier occurrence of the last 3 tokens, or else of the last 2. All of them are taken in.
  Match Find(std::span<const int32_t> tokens) const;
  void Clear();

  size_t size() const { return size_; }

 private:
  struct Table {
    size_t length;                      // of the sequences
    std::vector<int32_t> latest = {};   // by hash: where the latest such sequence ends; -1: none
    std::vector<int32_t> earlier = {};  // by position: where the one before it with its hash ends; -1: none
  };
  static size_t Slot(const Table& table, std::span<const int32_t> tokens, size_t end);
  static void Add(Table& table, std::span<const int32_t> tokens, size_t end);

  using Tables = std::array<Table, 2>;
  static Tables EmptyTables() { return {Table{3}, Table{2}}; }

  Tables tables_ = EmptyTables();
  size_t size_ = 0;
};

// Appends the first `count` tokens of what followed the match. Where the timeline ends, the guess goes on
// with itself.
void CopyDraft(std::span<const int32_t> tokens, const DraftIndex::Match& match, size_t count,
               std::vector<int32_t>& draft);

}  // namespace k2
