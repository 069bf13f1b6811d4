// A session's latents and rope keys in reference-counted pages, so that forks share what they have in common.
//
// A page holds kPageTokens positions of all layers; what its bytes mean belongs to the backend. A page that
// others also hold is copied before a position in it is written (only the newest page of a timeline is ever
// written).
#pragma once

#include <memory>
#include <vector>

#include "base/buffer.h"
#include "ops/params.h"

namespace k2 {

class KvCache {
 public:
  static constexpr int64_t kPageTokens = 64;

  KvCache(int64_t layers, int64_t bytes_per_token) : layers_(layers), bytes_per_token_(bytes_per_token) {}

  // Positions that hold valid data.
  int64_t length() const { return length_; }

  // Makes positions [length, length + count) writable. On failure nothing has changed.
  Status Reserve(int64_t count);
  // Declares the next `count` reserved positions valid.
  void Commit(int64_t count) { length_ += count; }
  // Forgets the positions from `length` on and gives their pages back.
  void Truncate(int64_t length);
  // Shares every page.
  KvCache Fork() const { return *this; }

  // Page addresses of one layer; valid until the next Reserve or Truncate.
  CacheView Layer(int64_t layer) const;

 private:
  using Page = std::shared_ptr<AlignedBuffer>;

  int64_t layer_bytes() const { return kPageTokens * bytes_per_token_; }

  int64_t layers_;
  int64_t bytes_per_token_;
  int64_t length_ = 0;
  std::vector<Page> pages_;
  // [layers][pages] addresses, rebuilt when the pages change.
  std::vector<uint8_t*> addresses_;
  void Readdress();
};

}  // namespace k2
