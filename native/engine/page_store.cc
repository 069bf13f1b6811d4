#include "engine/page_store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <filesystem>

#include "base/crc32c.h"
#include "base/file.h"

namespace k2 {
namespace {

constexpr int64_t kPage = KvCache::kPageTokens;
constexpr char kMagic[8] = {'\x8f', 'K', '2', 'P', 'A', 'G', 'E', '\n'};
constexpr uint32_t kVersion = 1;
constexpr const char* kExtension = ".k2page";
// To be raised with any change of the forward pass that changes a bit of a cached row.
constexpr uint64_t kNumerics = 3;

bool EndsWith(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

}  // namespace

struct PageStore::Header {
  char magic[8];
  uint32_t version;
  uint32_t page_tokens;
  uint64_t page_bytes;
  uint64_t expanded;
  Sha256Digest name, parent;
  int32_t ids[kPage];
  uint32_t reserved;
  uint32_t checksum;  // of all bytes before it; that of the page goes on from it

  uint32_t Checksum() const { return Crc32c(0, this, offsetof(Header, checksum)); }
};

Status PageStore::Prepare(const std::string& directory) {
  std::error_code error;
  const bool made = std::filesystem::create_directories(directory, error);
  // Pages tell what was talked about.
  if (made) std::filesystem::permissions(directory, std::filesystem::perms::owner_all, error);
  if (!error && access(directory.c_str(), R_OK | W_OK | X_OK) != 0)
    error = std::error_code(errno, std::generic_category());
  if (!error) return {};
  return Status(ErrorCode::kIo, "Expected a directory to write to for prefixCacheDirectory at " + directory +
                                    ", got: " + error.message());
}

void PageStore::Open(const Sha256Digest& fingerprint, const std::string& kernels) {
  Sha256 root;
  root.AddInteger(kNumerics);
  root.Add(fingerprint.data(), fingerprint.size());
  root.AddText(kernels);
  root.AddInteger(static_cast<uint64_t>(kPage));
  root.AddInteger(static_cast<uint64_t>(page_bytes_));
  root_ = root.Finish();
  open_ = true;
  Tidy(0, true);
}

std::vector<Sha256Digest> PageStore::Names(const PagePath& path) const {
  std::vector<Sha256Digest> names = {root_};
  for (size_t page = 0; page < path.pages(); ++page) {
    Sha256 name;
    name.Add(names.back().data(), names.back().size());
    name.AddInteger(path.expanded[page]);
    name.Add(path.ids.data() + page * kPage, kPage * sizeof(int32_t));
    names.push_back(name.Finish());
  }
  return names;
}

std::string PageStore::FileOf(const Sha256Digest& name) const {
  return directory_ + "/" + ToHex(name) + kExtension;
}

PageStore::Header PageStore::MakeHeader(const std::vector<Sha256Digest>& names, const PagePath& path,
                                        size_t page) const {
  static_assert(sizeof(Header) == 360 && offsetof(Header, checksum) == 356);
  Header header = {};
  std::copy(std::begin(kMagic), std::end(kMagic), header.magic);
  header.version = kVersion;
  header.page_tokens = kPage;
  header.page_bytes = static_cast<uint64_t>(page_bytes_);
  header.expanded = path.expanded[page];
  header.name = names[page + 1];
  header.parent = names[page];
  std::copy_n(path.ids.data() + page * kPage, kPage, header.ids);
  header.checksum = header.Checksum();
  return header;
}

std::vector<KvCache::Page> PageStore::Find(const PagePath& path, size_t first) {
  std::vector<KvCache::Page> pages;
  if (!open_) return pages;
  std::vector<Sha256Digest> names = Names(path);
  for (size_t page = first; page < path.pages(); ++page) {
    KvCache::Page read = Read(MakeHeader(names, path, page));
    if (read == nullptr) break;
    pages.push_back(std::move(read));
  }
  names.resize(1 + std::min(first + pages.size(), path.pages()));
  Touch(names);
  return pages;
}

// The page, or null where there is none; a file that holds anything else than what is wanted is removed.
KvCache::Page PageStore::Read(const Header& wanted) const {
  const std::string path = FileOf(wanted.name);
  Result<InputFile> opened = InputFile::Open(path);
  if (!opened.ok()) return nullptr;
  InputFile& file = opened.value();
  const size_t size = static_cast<size_t>(page_bytes_);
  Result<AlignedBuffer> memory = AlignedBuffer::Allocate(size, "a cache page");
  if (!memory.ok()) return nullptr;
  const auto page = std::make_shared<CachePage>(std::move(memory.value()));
  page->expanded = wanted.expanded;
  page->stored = true;
  Header header;
  uint32_t checksum = 0;
  const bool sound = file.size() == sizeof header + size + sizeof checksum &&
                     file.Read(&header, sizeof header).ok() &&
                     std::memcmp(&header, &wanted, sizeof header) == 0 &&
                     file.Read(page->bytes.data(), size).ok() && file.Read(&checksum, sizeof checksum).ok() &&
                     checksum == Crc32c(header.checksum, page->bytes.data(), size);
  if (sound) return page;
  unlink(path.c_str());
  return nullptr;
}

void PageStore::Store(const PagePath& path, const std::vector<KvCache::Page>& pages,
                      const std::function<bool()>& keep_going) {
  if (!open_) return;
  const std::vector<Sha256Digest> names = Names(path);
  const size_t first = path.pages() - pages.size();
  const int64_t file_bytes = static_cast<int64_t>(sizeof(Header) + sizeof(uint32_t)) + page_bytes_;
  // Before the first one, so that no page of this path makes room for another.
  Touch(names);
  for (size_t i = 0; i < pages.size() && keep_going(); ++i) {
    // Of a path that does not fit, the beginning stays.
    if (static_cast<int64_t>(first + i + 1) * file_bytes > kept_bytes()) break;
    const Header header = MakeHeader(names, path, first + i);
    if (access(FileOf(header.name).c_str(), F_OK) == 0) continue;
    if (bytes_ + file_bytes > byte_cap_) Tidy(file_bytes, false);
    if (!Write(header, *pages[i])) break;
    bytes_ += file_bytes;
  }
  Touch(names);
}

bool PageStore::Write(const Header& header, const CachePage& page) const {
  Result<NewFile> created = NewFile::Create(FileOf(header.name));
  if (!created.ok()) return false;
  NewFile& file = created.value();
  const uint32_t checksum = Crc32c(header.checksum, page.bytes.data(), page.bytes.size());
  // Not made durable: a page that a loss of power cut off is found out by its size or checksum.
  return file.Write(&header, sizeof header).ok() && file.Write(page.bytes.data(), page.bytes.size()).ok() &&
         file.Write(&checksum, sizeof checksum).ok() && file.Publish(false).ok();
}

void PageStore::Touch(const PagePath& path) {
  if (open_) Touch(Names(path));
}

// The end of a path counts as used a little before its beginning, so that it is removed first: behind a
// missing page nothing is found.
void PageStore::Touch(const std::vector<Sha256Digest>& names) const {
  const int64_t now = std::chrono::duration_cast<std::chrono::nanoseconds>(
                          std::chrono::system_clock::now().time_since_epoch())
                          .count();
  for (size_t i = 1; i < names.size(); ++i) {
    const int64_t time = now - static_cast<int64_t>(i) * 1000;
    const timespec stamp = {.tv_sec = static_cast<time_t>(time / 1'000'000'000),
                            .tv_nsec = static_cast<long>(time % 1'000'000'000)};
    const timespec times[2] = {stamp, stamp};
    utimensat(AT_FDCWD, FileOf(names[i]).c_str(), times, 0);
  }
}

void PageStore::Tidy(int64_t room_bytes, bool remove_leftovers) {
  struct Found {
    std::filesystem::file_time_type used;
    std::filesystem::path path;
    int64_t bytes;
  };
  std::vector<Found> files;
  bytes_ = 0;
  std::error_code error;
  std::filesystem::directory_iterator entry(directory_, error);
  for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    const std::string path = entry->path().string();
    if (remove_leftovers && EndsWith(path, std::string(kExtension) + NewFile::kSuffix))
      NewFile::RemoveLeftover(path.substr(0, path.size() - std::strlen(NewFile::kSuffix)));
    if (!EndsWith(path, kExtension)) continue;
    // Another process may have removed it meanwhile.
    std::error_code gone;
    const auto bytes = static_cast<int64_t>(entry->file_size(gone));
    const auto used = gone ? std::filesystem::file_time_type() : entry->last_write_time(gone);
    if (gone) continue;
    files.push_back({used, entry->path(), bytes});
    bytes_ += bytes;
  }
  if (bytes_ + room_bytes <= byte_cap_) return;
  std::sort(files.begin(), files.end(), [](const Found& a, const Found& b) { return a.used < b.used; });
  for (const Found& file : files) {
    if (bytes_ <= kept_bytes() - room_bytes) break;
    if (std::filesystem::remove(file.path, error)) bytes_ -= file.bytes;
  }
}

}  // namespace k2
