#include "base/file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>

namespace k2 {
namespace {

std::atomic<int> calls_until_failure{0};

// Whether this call of the system is the one that a test wants to fail.
bool FailsForTest() {
  if (calls_until_failure.load(std::memory_order_relaxed) == 0 || calls_until_failure.fetch_sub(1) != 1)
    return false;
  errno = EIO;
  return true;
}

Status Failure(const char* what, const std::string& path) {
  const std::string reason = std::strerror(errno);
  return Status(ErrorCode::kIo, "Expected to " + std::string(what) + " " + path + ", got: " + reason);
}

int Open(const std::string& path, int flags) {
  // Not blocking: a pipe of that name must not hold up the thread for ever.
  return FailsForTest() ? -1 : open(path.c_str(), flags | O_CLOEXEC | O_NONBLOCK, S_IRUSR | S_IWUSR);
}

int Synchronize(int file) {
#if defined(__APPLE__)
  if (fcntl(file, F_FULLFSYNC) == 0) return 0;
#endif
  return fsync(file);
}

// Whether `path` still names the open file.
bool IsSameFile(int file, const std::string& path) {
  struct stat open_file = {}, named = {};
  return fstat(file, &open_file) == 0 && lstat(path.c_str(), &named) == 0 &&
         open_file.st_ino == named.st_ino && open_file.st_dev == named.st_dev;
}

std::string FolderOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : path.substr(0, std::max<size_t>(slash, 1));
}

}  // namespace

FileDescriptor::~FileDescriptor() {
  if (number_ >= 0) close(number_);
}

NewFile& NewFile::operator=(NewFile&& other) noexcept {
  std::swap(file_, other.file_);
  std::swap(path_, other.path_);
  std::swap(partial_, other.partial_);
  return *this;
}

NewFile::~NewFile() {
  if (!partial_.empty()) unlink(partial_.c_str());
}

Result<NewFile> NewFile::Create(const std::string& path) {
  struct stat target = {};
  if (lstat(path.c_str(), &target) == 0 && !S_ISREG(target.st_mode)) {
    return Status(ErrorCode::kIo, "Expected a regular file or nothing at " + path + ", got " +
                                      (S_ISDIR(target.st_mode) ? "a directory" : "something else"));
  }
  const std::string partial = path + kSuffix;
  // A writer that published meanwhile has taken the file that was opened here away.
  for (int attempt = 0; attempt < 100; ++attempt) {
    FileDescriptor file(Open(partial, O_WRONLY | O_CREAT | O_NOFOLLOW));
    if (file.number() < 0) return Failure("create", path);
    if (flock(file.number(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) break;
    if (!IsSameFile(file.number(), partial)) continue;
    NewFile created;
    created.file_ = std::move(file);
    created.path_ = path;
    created.partial_ = partial;
    if (FailsForTest() || ftruncate(created.file_.number(), 0) != 0) return Failure("empty", path);
    return created;
  }
  return Status(ErrorCode::kIo, "Expected nobody else to write " + path + ", got a writer at work");
}

void NewFile::RemoveLeftover(const std::string& path) {
  const std::string partial = path + kSuffix;
  const FileDescriptor file(Open(partial, O_WRONLY | O_NOFOLLOW));
  if (file.number() < 0 || flock(file.number(), LOCK_EX | LOCK_NB) != 0) return;
  if (IsSameFile(file.number(), partial)) unlink(partial.c_str());
}

Status NewFile::Write(const void* data, size_t size) {
  const uint8_t* bytes = static_cast<const uint8_t*>(data);
  while (size > 0) {
    const ssize_t written =
        FailsForTest() ? -1 : write(file_.number(), bytes, std::min<size_t>(size, 1 << 30));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return Failure("write", path_);
    bytes += written;
    size -= static_cast<size_t>(written);
  }
  return {};
}

Status NewFile::Publish(bool durable) {
  if (durable && (FailsForTest() || Synchronize(file_.number()) != 0))
    return Failure("bring to the disk", path_);
  if (FailsForTest() || rename(partial_.c_str(), path_.c_str()) != 0) return Failure("replace", path_);
  partial_.clear();
  if (!durable) return {};
  const FileDescriptor folder(Open(FolderOf(path_), O_RDONLY | O_DIRECTORY));
  // Some file systems cannot bring a folder to the disk, and say so by EINVAL.
  if (folder.number() < 0 || FailsForTest() || (Synchronize(folder.number()) != 0 && errno != EINVAL))
    return Failure("bring to the disk the folder of", path_);
  return {};
}

Result<InputFile> InputFile::Open(const std::string& path) {
  InputFile input;
  input.file_ = FileDescriptor(k2::Open(path, O_RDONLY));
  input.path_ = path;
  if (input.file_.number() < 0) return Failure("open", path);
  struct stat information = {};
  if (FailsForTest() || fstat(input.file_.number(), &information) != 0) return Failure("look at", path);
  if (!S_ISREG(information.st_mode)) {
    return Status(ErrorCode::kIo, "Expected a regular file at " + path + ", got " +
                                      (S_ISDIR(information.st_mode) ? "a directory" : "something else"));
  }
  input.size_ = static_cast<uint64_t>(information.st_size);
  return input;
}

Status InputFile::Read(void* data, size_t size) {
  uint8_t* bytes = static_cast<uint8_t*>(data);
  while (size > 0) {
    const ssize_t got = FailsForTest() ? -1 : read(file_.number(), bytes, std::min<size_t>(size, 1 << 30));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Failure("read", path_);
    if (got == 0) {
      return Status(ErrorCode::kDamagedFile,
                    "Expected " + std::to_string(size) + " more bytes in " + path_ + ", got its end");
    }
    bytes += got;
    size -= static_cast<size_t>(got);
  }
  return {};
}

void FailFileCallForTest(int k) { calls_until_failure.store(k); }

}  // namespace k2
