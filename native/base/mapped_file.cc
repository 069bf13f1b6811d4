#include "base/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace k2 {

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(path_, other.path_);
  std::swap(guard_, other.guard_);
  return *this;
}

MappedFile::~MappedFile() {
  UnguardRange(guard_);
  if (data_ != nullptr) munmap(const_cast<uint8_t*>(data_), size_);
}

Result<MappedFile> MappedFile::Open(const std::string& path) {
  const auto failure = [&path](const char* what) {
    return Status(ErrorCode::kIo,
                  "Expected to " + std::string(what) + " " + path + ", got: " + std::strerror(errno));
  };
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return failure("open");
  MappedFile file;
  file.path_ = path;
  struct stat information = {};
  if (fstat(descriptor, &information) != 0 || !S_ISREG(information.st_mode) || information.st_size <= 0) {
    close(descriptor);
    return Status(ErrorCode::kIo, "Expected a regular file with content at " + path + ", got something else");
  }
  const uint64_t size = static_cast<uint64_t>(information.st_size);
  void* address = mmap(nullptr, size, PROT_READ, MAP_SHARED, descriptor, 0);
  const int map_error = errno;
  close(descriptor);  // the map keeps the file alive
  if (address == MAP_FAILED) {
    errno = map_error;
    return failure("map");
  }
  file.data_ = static_cast<const uint8_t*>(address);
  file.size_ = size;
  Result<FaultRange> guard = GuardRange(address, size);
  if (!guard.ok()) return guard.status();
  file.guard_ = guard.value();
  return file;
}

void ReleaseMappedPages(const uint8_t* data, size_t size_bytes) {
  const uintptr_t page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(data) + page - 1) / page * page;
  const uintptr_t end = (reinterpret_cast<uintptr_t>(data) + size_bytes) / page * page;
  if (begin < end) (void)madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

}  // namespace k2
