// Whole cache pages in a directory, one file each: the prefix cache that outlives the process.
//
// A file is named by a hash of the checkpoint, the kernels, and all token ids and form bits up to the end of
// its page; it repeats ids, bits and the name of the page before it, all of which are compared, and its bytes
// carry a checksum. What does not agree is removed and computed anew. Files appear whole or not at all, and
// several processes may use one directory. After Prepare, file thread only.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/sha256.h"
#include "model/kv_cache.h"

namespace k2 {

// What a page depends on: the ids of whole pages from the beginning on, and the form bits of each page.
struct PagePath {
  std::vector<int32_t> ids;  // [pages * kPageTokens]
  std::vector<uint64_t> expanded;

  size_t pages() const { return expanded.size(); }
};

class PageStore {
 public:
  // Pages of `page_bytes`, in files of at most `byte_cap` in all.
  PageStore(std::string directory, int64_t byte_cap, int64_t page_bytes)
      : directory_(std::move(directory)), byte_cap_(byte_cap), page_bytes_(page_bytes) {}

  // Makes the directory where there is none; kIo where it cannot be written to. Any thread.
  static Status Prepare(const std::string& directory);

  // Names the pages of this checkpoint and these kernels, removes what killed processes left, and brings the
  // directory below its cap. Before it nothing is found and nothing is stored.
  void Open(const Sha256Digest& fingerprint, const std::string& kernels);

  // The pages `first`, `first` + 1, ... of `path`, as far as there are files for them.
  std::vector<KvCache::Page> Find(const PagePath& path, size_t first);

  // Writes the last `pages.size()` pages of `path` where there are no files for them yet. `keep_going` is
  // asked before each; where one cannot be written, those behind it are left out too.
  void Store(const PagePath& path, const std::vector<KvCache::Page>& pages,
             const std::function<bool()>& keep_going);

  // Marks the pages of `path` as used now.
  void Touch(const PagePath& path);

 private:
  struct Header;

  // Names of all pages of `path`, behind that of the root.
  std::vector<Sha256Digest> Names(const PagePath& path) const;
  std::string FileOf(const Sha256Digest& name) const;
  Header MakeHeader(const std::vector<Sha256Digest>& names, const PagePath& path, size_t page) const;
  KvCache::Page Read(const Header& wanted) const;
  bool Write(const Header& header, const CachePage& page) const;
  void Touch(const std::vector<Sha256Digest>& names) const;
  // Counts the files, and removes the least recently used ones where there is no room for `room_bytes` more.
  void Tidy(int64_t room_bytes, bool remove_leftovers);
  // What is left then. Below the cap, so that not every page has to list the directory.
  int64_t kept_bytes() const { return byte_cap_ - byte_cap_ / 8; }

  const std::string directory_;
  const int64_t byte_cap_;
  const int64_t page_bytes_;
  bool open_ = false;
  Sha256Digest root_ = {};
  int64_t bytes_ = 0;  // of all files, as far as this process knows
};

}  // namespace k2
