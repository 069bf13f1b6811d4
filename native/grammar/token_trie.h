// The ordinary tokens of a vocabulary as one tree of bytes, in preorder: a walk that cannot go on skips a
// whole subtree by one addition.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace k2 {

// Token i has the bytes [offsets[i], offsets[i + 1]) of the pool.
struct TokenBytes {
  std::vector<uint8_t> pool;
  std::vector<uint32_t> offsets;

  int32_t count() const { return static_cast<int32_t>(offsets.size()) - 1; }
  std::span<const uint8_t> Of(int32_t id) const {
    const size_t start = offsets[static_cast<size_t>(id)];
    return std::span(pool).subspan(start, offsets[static_cast<size_t>(id) + 1] - start);
  }
};

struct TokenTrie {
  struct Node {
    int32_t token;   // that ends here; -1: none
    int32_t skip;    // nodes of the subtree, this one included
    uint16_t depth;  // bytes before this one
    uint8_t byte;
  };
  std::vector<Node> nodes;

  static TokenTrie Build(const TokenBytes& tokens);
};

}  // namespace k2
