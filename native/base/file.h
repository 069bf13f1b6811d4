// Files that are written whole or not at all, and files that are read to check them. Every failure of the
// system is a Status that names the path.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "base/status.h"

namespace k2 {

// Owns a descriptor.
class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int number) : number_(number) {}
  FileDescriptor(FileDescriptor&& other) noexcept { *this = std::move(other); }
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    std::swap(number_, other.number_);
    return *this;
  }
  ~FileDescriptor();

  int number() const { return number_; }

 private:
  int number_ = -1;
};

// New content for a path. It is written to "<path>.partial", under a lock that ends with the process; Publish
// moves it to the path in one step. Whatever happens before that, the path holds what it held. A partial file
// that a killed process left is overwritten by the next writer of the path. Readable by its owner only.
class NewFile {
 public:
  NewFile() = default;
  NewFile(NewFile&& other) noexcept { *this = std::move(other); }
  NewFile& operator=(NewFile&& other) noexcept;
  // Removes what was not published.
  ~NewFile();

  // kIo also where the path holds anything but a regular file, or another writer is at work.
  static Result<NewFile> Create(const std::string& path);
  // Removes the partial file of `path` unless its writer lives.
  static void RemoveLeftover(const std::string& path);

  Status Write(const void* data, size_t size);
  // `durable`: when this returns ok, the content survives a loss of power; else it may then be cut off, which
  // a reader has to notice.
  Status Publish(bool durable);

  static constexpr const char* kSuffix = ".partial";

 private:
  FileDescriptor file_;
  std::string path_;
  std::string partial_;  // empty: nothing to remove
};

// An existing regular file, read from its beginning.
class InputFile {
 public:
  static Result<InputFile> Open(const std::string& path);

  const std::string& path() const { return path_; }
  uint64_t size() const { return size_; }
  // Exactly `size` bytes; kDamagedFile where the file has fewer left.
  Status Read(void* data, size_t size);

 private:
  FileDescriptor file_;
  std::string path_;
  uint64_t size_ = 0;
};

// For tests: the k-th call of the system from now fails (1 = the next one); 0 switches it off.
void FailFileCallForTest(int k);

}  // namespace k2
