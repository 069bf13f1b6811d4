// Memory for measuring, whose pages are of a known kind: how fast memory reads depends on them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "base/status.h"

namespace k2 {

enum class Pages {
  kHuge,   // 2 MiB, where the system grants them
  kSmall,  // 4 KiB
  kFile,   // a mapped file in the page cache, as weights are
};

class PageBuffer {
 public:
  PageBuffer() = default;
  PageBuffer(PageBuffer&& other) noexcept { *this = std::move(other); }
  PageBuffer& operator=(PageBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~PageBuffer();

  // Zeros, of which no page exists before it is written. A file is an unnamed one in $TMPDIR or /tmp.
  static Result<PageBuffer> Map(size_t size_bytes, Pages pages);

  uint8_t* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  uint8_t* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace k2
