#include "grammar/token_trie.h"

#include <algorithm>
#include <numeric>

namespace k2 {

TokenTrie TokenTrie::Build(const TokenBytes& tokens) {
  std::vector<int32_t> order(static_cast<size_t>(tokens.count()));
  std::iota(order.begin(), order.end(), 0);
  std::erase_if(order, [&](int32_t id) { return tokens.Of(id).empty(); });
  std::sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    const auto x = tokens.Of(a), y = tokens.Of(b);
    return std::lexicographical_compare(x.begin(), x.end(), y.begin(), y.end());
  });

  TokenTrie trie;
  std::vector<size_t> path;  // nodes from the root to the latest one
  const auto close = [&](size_t depth) {
    for (; path.size() > depth; path.pop_back()) {
      trie.nodes[path.back()].skip = static_cast<int32_t>(trie.nodes.size() - path.back());
    }
  };
  for (int32_t id : order) {
    const auto bytes = tokens.Of(id);
    size_t common = 0;
    while (common < path.size() && common < bytes.size() && trie.nodes[path[common]].byte == bytes[common])
      ++common;
    close(common);
    for (size_t depth = common; depth < bytes.size(); ++depth) {
      path.push_back(trie.nodes.size());
      trie.nodes.push_back({-1, 0, static_cast<uint16_t>(depth), bytes[depth]});
    }
    trie.nodes[path.back()].token = id;
  }
  close(0);
  return trie;
}

}  // namespace k2
