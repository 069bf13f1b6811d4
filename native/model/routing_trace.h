// Which experts the router chose at each position of a timeline, and with what weights, in every layer that
// has experts.
//
// Lives beside the cache (model/kv_cache.h) and follows it: positions are reserved, written by the forward
// pass, and known once the step has succeeded. Those whose pages came from the prefix cache were computed by
// somebody else and stay unknown. Takes 6 bytes for a chosen expert (2880 a token for Kimi K2) in pages that
// forks share.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/buffer.h"
#include "base/status.h"

namespace k2 {

// Where a part of a trace is read to: rows of `moe layers` x K numbers.
struct RoutingRows {
  uint16_t* experts;  // [n, moe layers, K]; 0xffff at unknown positions
  float* weights;     // [n, moe layers, K]; 0 at unknown positions
  uint8_t* known;     // [n]: 1 or 0
  int64_t count;      // n
};

class RoutingTrace {
 public:
  RoutingTrace(int64_t moe_layers, int64_t chosen) : moe_layers_(moe_layers), chosen_(chosen) {}

  // Makes positions [first, first + count) writable. On failure nothing that is known has changed.
  Status Reserve(int64_t first, int64_t count);
  // Writes K ids and weights at a reserved position; `moe_layer` counts the layers with experts alone.
  void Write(int64_t position, int64_t moe_layer, const int32_t* ids, const float* weights);
  // Declares reserved and written positions known.
  void Commit(int64_t first, int64_t count);
  // Forgets the positions from `length` on.
  void Truncate(int64_t length);
  // Copies positions [first, first + rows.count).
  void Read(int64_t first, const RoutingRows& rows) const;

  // Numbers of one position: moe layers x K.
  int64_t width() const { return moe_layers_ * chosen_; }

 private:
  static constexpr int64_t kPageTokens = 64;
  // The marks are not in the page: what one timeline forgets, a fork may still know.
  struct Page {
    std::shared_ptr<AlignedBuffer> memory;  // weights [kPageTokens, width], then ids; null: nothing is known
    uint64_t known = 0;                     // bit i: row i
  };
  static_assert(kPageTokens == 8 * sizeof(Page::known));

  float* Weights(const Page& page, int64_t position) const;
  uint16_t* Experts(const Page& page, int64_t position) const;

  int64_t moe_layers_;
  int64_t chosen_;
  std::vector<Page> pages_;
};

}  // namespace k2
