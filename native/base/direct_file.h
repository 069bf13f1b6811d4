// A file that is read past the page cache into memory of the caller, so that what is read once does not push
// out what is read often. Where the file system refuses that, reads go through the page cache and are dropped
// from it. Reading takes no memory and may be done by several threads at once.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>

#include "base/file.h"
#include "base/status.h"

namespace k2 {

class DirectFile {
 public:
  // What offsets, sizes and addresses are multiples of: the largest block of common disks.
  static constexpr uint64_t kBlockBytes = 4096;
  // Returned by Read for a file that has become too short. Errors of the system are positive.
  static constexpr int kEndOfFile = -1;

  DirectFile() = default;
  DirectFile(DirectFile&& other) noexcept;

  static Result<DirectFile> Open(const std::string& path);

  // Reads [offset, offset + size), all multiples of kBlockBytes. Of the last block only the first bytes need
  // to exist: `least` bytes in all. 0, kEndOfFile, or the error number of the system.
  int Read(uint64_t offset, size_t size, size_t least, uint8_t* memory) const;

  const std::string& path() const { return path_; }
  bool is_direct() const { return is_direct_.load(std::memory_order_relaxed); }

 private:
  std::string path_;
  FileDescriptor direct_, buffered_;
  mutable std::atomic<bool> is_direct_{false};
};

// What a result of Read other than 0 means.
std::string ReadFailure(int result);

// For tests: called before every read; another result than 0 is what the read gives, EINVAL the refusal of a
// direct one. Null switches it off.
void SetReadHookForTest(int (*hook)());

}  // namespace k2
