// Pages that sessions of one engine have computed, found again by the tokens that they hold: a tree whose
// path from the root is a prefix of token ids, one whole page a node.
//
// A page is found by comparing all its ids, and all ids before it, and the form of attention that made each
// of their rows: what a session takes from here has the very bits that it would have computed. The tree holds
// a reference to each page and nothing else, so evicting one never takes it from a session. Engine thread
// only.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <span>
#include <unordered_set>
#include <vector>

#include "model/kv_cache.h"

namespace k2 {

// The form bits that page `page` has once calls of `form` have filled it behind what `cache` holds.
uint64_t FormBits(const KvCache& cache, int64_t page, AttentionForm form);

class PrefixCache {
 public:
  // Holds pages whose memory, with what the tree itself takes, is at most `byte_cap`; 0 switches it off.
  explicit PrefixCache(int64_t byte_cap);
  ~PrefixCache();
  PrefixCache(const PrefixCache&) = delete;
  PrefixCache& operator=(const PrefixCache&) = delete;

  // Replaces the beginning of `cache` by pages from here when they reach further: `tokens` are those that it
  // holds, `next` those that a call would append with `form`. The last of `next` is always left, since its
  // logits are wanted. Returns how many of `next` are in the cache afterwards; 0 and no change where nothing
  // was found.
  int64_t Extend(KvCache& cache, std::span<const int32_t> tokens, std::span<const int32_t> next,
                 AttentionForm form);

  // Adds the whole pages of `cache`, which holds `tokens`, as the most recently used. Where the tree has a
  // page already, `cache` gives up its own for that one: the bits are the same. Lack of memory leaves the
  // rest out.
  void Insert(KvCache& cache, std::span<const int32_t> tokens);

  void Clear();

  // Memory that counts against the cap.
  int64_t bytes() const { return bytes_; }

 private:
  struct Node;
  // What tells a page from all others.
  struct Key {
    const Node* parent;  // null at the root
    const int32_t* ids;  // kPageTokens of them
    uint64_t expanded;
  };
  struct Hash {
    using is_transparent = void;
    size_t operator()(const Key& key) const;
    size_t operator()(const std::unique_ptr<Node>& node) const;
  };
  struct Equal {
    using is_transparent = void;
    template <typename Left, typename Right>
    bool operator()(const Left& left, const Right& right) const {
      return Same(KeyOf(left), KeyOf(right));
    }
  };
  static Key KeyOf(const Key& key) { return key; }
  static Key KeyOf(const std::unique_ptr<Node>& node);
  static bool Same(const Key& a, const Key& b);

  Node* Find(const Key& key) const;
  Node* Add(const Key& key, const KvCache::Page& page);
  // Marks a path as used, its end first: a node is never behind one of its children.
  void Touch(Node* end);
  void EvictBeyondCap();

  int64_t byte_cap_;
  int64_t bytes_ = 0;
  std::unordered_set<std::unique_ptr<Node>, Hash, Equal> nodes_;
  std::list<Node*> by_use_;  // most recently used first; the last one has no children
};

}  // namespace k2
