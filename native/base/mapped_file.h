// A read-only map of a whole file. Weights are used where they lie in it; the page cache is shared by all
// processes.
#pragma once

#include <cstdint>
#include <string>

#include "base/fault_guard.h"
#include "base/status.h"

namespace k2 {

class MappedFile {
 public:
  MappedFile() = default;
  MappedFile(MappedFile&& other) noexcept { *this = std::move(other); }
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  static Result<MappedFile> Open(const std::string& path);

  const uint8_t* data() const { return data_; }
  uint64_t size() const { return size_; }
  const std::string& path() const { return path_; }
  // True once a page could not be read; its content was replaced by zeros.
  bool faulted() const { return RangeFaulted(guard_); }

 private:
  const uint8_t* data_ = nullptr;
  uint64_t size_ = 0;
  std::string path_;
  FaultRange guard_ = -1;
};

// Takes the pages that lie whole inside a part of a mapped file out of this process: whoever reads them again
// gets them from the page cache or from disk.
void ReleaseMappedPages(const uint8_t* data, size_t size_bytes);

}  // namespace k2
