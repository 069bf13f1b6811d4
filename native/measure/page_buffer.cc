#include "measure/page_buffer.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>

namespace k2 {
namespace {

Status Refused(const std::string& what) {
  return Status(ErrorCode::kIo, "Expected " + what + ", got: " + std::strerror(errno));
}

Result<int> OpenUnnamedFile(size_t size_bytes) {
  const char* folder = std::getenv("TMPDIR");
  std::string path = std::string(folder != nullptr && *folder != 0 ? folder : "/tmp") + "/k2-measure-XXXXXX";
  const int file = mkstemp(path.data());
  if (file < 0) return Refused("to make a file at " + path);
  unlink(path.c_str());
  if (ftruncate(file, static_cast<off_t>(size_bytes)) == 0) return file;
  const Status status = Refused("a file of " + std::to_string(size_bytes) + " bytes");
  close(file);
  return status;
}

}  // namespace

PageBuffer::~PageBuffer() {
  if (data_ != nullptr) munmap(data_, size_);
}

Result<PageBuffer> PageBuffer::Map(size_t size_bytes, Pages pages) {
  int file = -1;
  if (pages == Pages::kFile) {
    const Result<int> opened = OpenUnnamedFile(size_bytes);
    if (!opened.ok()) return opened.status();
    file = opened.value();
  }
  const int kind = file < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
  void* address = mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE, kind, file, 0);
  if (file >= 0) close(file);  // the map keeps the file alive
  if (address == MAP_FAILED) return Refused("a map of " + std::to_string(size_bytes) + " bytes");
#if defined(MADV_HUGEPAGE)
  // A refusal leaves small pages, which is what a program would get.
  if (pages == Pages::kHuge) (void)madvise(address, size_bytes, MADV_HUGEPAGE);
  if (pages == Pages::kSmall) (void)madvise(address, size_bytes, MADV_NOHUGEPAGE);
#endif
  PageBuffer buffer;
  buffer.data_ = static_cast<uint8_t*>(address);
  buffer.size_ = size_bytes;
  return buffer;
}

}  // namespace k2
