// A session's latents and rope keys in reference-counted pages, so that forks and the prefix cache share what
// they have in common.
//
// A page holds kPageTokens positions of all layers; what its bytes mean belongs to the backend. A page that
// others also hold is copied before a position in it is written (only the newest page of a timeline is ever
// written).
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "base/buffer.h"
#include "model/routing_trace.h"
#include "ops/params.h"

namespace k2 {

// Rows round differently by the form of attention that made them, so a page remembers it: bit i is set when
// its row i was made by the expanded form. Bits of positions that hold nothing valid mean nothing.
struct CachePage {
  explicit CachePage(AlignedBuffer memory) : bytes(std::move(memory)) {}
  AlignedBuffer bytes;
  uint64_t expanded = 0;
  // The page is whole, and was handed on to be kept beyond the process. Engine thread.
  bool stored = false;
};

class KvCache {
 public:
  static constexpr int64_t kPageTokens = 64;
  static_assert(kPageTokens == 8 * sizeof(CachePage::expanded));
  using Page = std::shared_ptr<CachePage>;

  KvCache(int64_t layers, int64_t bytes_per_token) : layers_(layers), bytes_per_token_(bytes_per_token) {}

  // Positions that hold valid data.
  int64_t length() const { return length_; }
  int64_t layers() const { return layers_; }
  int64_t page_bytes() const { return layers_ * layer_bytes(); }
  // The last one is partly valid unless length() is a multiple of kPageTokens; those behind it hold nothing.
  std::span<const Page> pages() const { return pages_; }

  // Makes positions [length, length + count) writable. On failure nothing has changed.
  Status Reserve(int64_t count);
  // Declares the next `count` reserved positions valid, made by `form`.
  void Commit(int64_t count, AttentionForm form);
  // Forgets the positions from `length` on and gives their pages back.
  void Truncate(int64_t length);
  // Shares every page.
  KvCache Fork() const { return *this; }
  // Shares `pages`, whose first `length` positions are valid, in the place of its own.
  void Adopt(std::vector<Page> pages, int64_t length);

  // From now on every position that is computed is traced, and the trace follows the cache.
  void KeepTrace(RoutingTrace trace) { trace_ = std::move(trace); }
  // Null where none is kept.
  RoutingTrace* trace() { return trace_ ? &*trace_ : nullptr; }

  // Page addresses of one layer; valid until the next Reserve, Truncate or Adopt.
  CacheView Layer(int64_t layer) const;

 private:
  int64_t layer_bytes() const { return kPageTokens * bytes_per_token_; }

  int64_t layers_;
  int64_t bytes_per_token_;
  int64_t length_ = 0;
  std::vector<Page> pages_;
  std::optional<RoutingTrace> trace_;
  // [layers][pages] addresses, rebuilt when the pages change.
  std::vector<uint8_t*> addresses_;
  void Readdress();
};

}  // namespace k2
