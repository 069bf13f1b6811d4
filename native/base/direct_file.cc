#include "base/direct_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace k2 {
namespace {

std::atomic<int (*)()> read_hook{nullptr};

// One call moves at most 2 GiB on Linux; a multiple of the block below that.
constexpr size_t kMostBytesPerCall = size_t{1} << 30;

int OpenDirect(const std::string& path) {
#if defined(O_DIRECT)
  return open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_DIRECT);
#elif defined(F_NOCACHE)
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file >= 0) fcntl(file, F_NOCACHE, 1);
  return file;
#else
  (void)path;
  return -1;
#endif
}

void DropFromCache(int file, uint64_t offset, size_t size) {
#if defined(POSIX_FADV_DONTNEED)
  (void)posix_fadvise(file, static_cast<off_t>(offset), static_cast<off_t>(size), POSIX_FADV_DONTNEED);
#else
  (void)file, (void)offset, (void)size;
#endif
}

int ReadAll(int file, uint64_t offset, size_t size, size_t least, uint8_t* memory) {
  for (size_t done = 0; done < least;) {
    const ssize_t got = pread(file, memory + done, std::min(size - done, kMostBytesPerCall),
                              static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno;
    // What a direct read leaves off inside a block is the end of the file: it could not go on from there.
    const bool is_end = got == 0 || static_cast<uint64_t>(got) % DirectFile::kBlockBytes != 0;
    done += static_cast<size_t>(got);
    if (is_end && done < least) return DirectFile::kEndOfFile;
  }
  return 0;
}

}  // namespace

DirectFile::DirectFile(DirectFile&& other) noexcept
    : path_(std::move(other.path_)),
      direct_(std::move(other.direct_)),
      buffered_(std::move(other.buffered_)),
      is_direct_(other.is_direct_.load()) {}

Result<DirectFile> DirectFile::Open(const std::string& path) {
  DirectFile file;
  file.path_ = path;
  // Not blocking: a pipe of that name must not hold up the thread for ever.
  file.buffered_ = FileDescriptor(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.buffered_.number() < 0) {
    return Status(ErrorCode::kIo, "Expected to open " + path + ", got: " + std::strerror(errno));
  }
  struct stat information = {};
  if (fstat(file.buffered_.number(), &information) != 0 || !S_ISREG(information.st_mode)) {
    return Status(ErrorCode::kIo, "Expected a regular file at " + path + ", got something else");
  }
  file.direct_ = FileDescriptor(OpenDirect(path));
  file.is_direct_.store(file.direct_.number() >= 0);
  return file;
}

int DirectFile::Read(uint64_t offset, size_t size, size_t least, uint8_t* memory) const {
  const auto hook = read_hook.load();
  int result = hook == nullptr ? 0 : hook();
  if (is_direct()) {
    if (result == 0) result = ReadAll(direct_.number(), offset, size, least, memory);
    // Some file systems open such files and refuse to read them.
    if (result != EINVAL) return result;
    is_direct_.store(false, std::memory_order_relaxed);
    result = 0;
  }
  if (result != 0) return result;
  result = ReadAll(buffered_.number(), offset, size, least, memory);
  DropFromCache(buffered_.number(), offset, size);
  return result;
}

std::string ReadFailure(int result) {
  return result == DirectFile::kEndOfFile ? "its end" : std::strerror(result);
}

void SetReadHookForTest(int (*hook)()) { read_hook.store(hook); }

}  // namespace k2
