#include "engine/session_file.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstring>

#include "base/crc32c.h"
#include "base/file.h"

namespace k2 {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr char kMagic[8] = {'\x8f', 'K', '2', 'S', 'E', 'S', 'S', '\n'};
constexpr uint32_t kVersion = 1;
constexpr uint64_t kBlockBytes = 1 << 20;
constexpr uint64_t kChecksumBytes = sizeof(uint32_t);
constexpr uint64_t kMostTokens = 1 << 24;

struct Header {
  char magic[8];
  uint32_t version;
  uint32_t header_bytes;
  uint8_t fingerprint[32];
  char backend[12];  // zeros behind its end
  uint32_t cache_type;
  uint64_t page_bytes;
  uint32_t page_tokens;
  uint32_t vocab;
  uint64_t tokens;
  uint32_t pending;
  uint32_t has_logits;
  uint64_t note_bytes;
  uint64_t payload_bytes;
  uint32_t block_bytes;
  uint32_t checksum;  // of all bytes before it
};
static_assert(sizeof(Header) == 120 && offsetof(Header, checksum) == 116);

uint32_t ChecksumOf(const Header& header) { return Crc32c(0, &header, offsetof(Header, checksum)); }

uint32_t BlockChecksum(uint32_t header_checksum, uint64_t index, const uint8_t* data, size_t size) {
  const uint32_t seed = Crc32c(header_checksum, &index, sizeof index);
  return Crc32c(seed, data, size);
}

uint64_t PayloadBytes(const Header& h) {
  const uint64_t cached = h.tokens - h.pending, pages = (cached + h.page_tokens - 1) / h.page_tokens;
  return h.tokens * sizeof(int32_t) + h.note_bytes + h.has_logits * uint64_t{h.vocab} * sizeof(float) +
         pages * sizeof(uint64_t) + cached * (h.page_bytes / h.page_tokens);
}

uint64_t FileBytes(const Header& h) {
  const uint64_t blocks = (h.payload_bytes + kBlockBytes - 1) / kBlockBytes;
  return sizeof(Header) + h.payload_bytes + blocks * kChecksumBytes;
}

Header MakeHeader(const SessionFormat& format, const SessionContent& content) {
  Header h = {};
  std::copy(std::begin(kMagic), std::end(kMagic), h.magic);
  h.version = kVersion;
  h.header_bytes = sizeof(Header);
  std::copy(format.fingerprint.begin(), format.fingerprint.end(), h.fingerprint);
  format.backend.copy(h.backend, sizeof h.backend);
  h.cache_type = static_cast<uint32_t>(format.cache_type);
  h.page_bytes = static_cast<uint64_t>(format.page_bytes);
  h.page_tokens = KvCache::kPageTokens;
  h.vocab = static_cast<uint32_t>(format.vocab);
  h.tokens = content.tokens.size();
  h.pending = content.pending;
  h.has_logits = content.logits != nullptr;
  h.note_bytes = content.note.size();
  h.payload_bytes = PayloadBytes(h);
  h.block_bytes = kBlockBytes;
  h.checksum = ChecksumOf(h);
  return h;
}

// Calls visit(data, bytes) for everything behind the header, in the order of the file. Of each layer in a
// page only the valid rows: the others hold what the program's memory held before.
template <typename Content, typename Logit, typename Visit>
Status VisitPayload(const SessionFormat& format, Content& content, Logit* logits, const Visit& visit) {
  K2_RETURN_IF_ERROR(visit(content.tokens.data(), content.tokens.size() * sizeof(int32_t)));
  K2_RETURN_IF_ERROR(visit(content.note.data(), content.note.size()));
  if (logits != nullptr) K2_RETURN_IF_ERROR(visit(logits, static_cast<size_t>(format.vocab) * sizeof(float)));
  for (const KvCache::Page& page : content.pages)
    K2_RETURN_IF_ERROR(visit(&page->expanded, sizeof page->expanded));
  const int64_t layer_bytes = format.page_bytes / format.layers;
  const int64_t row_bytes = layer_bytes / KvCache::kPageTokens;
  int64_t left = content.cached();
  for (const KvCache::Page& page : content.pages) {
    const int64_t rows = std::min(left, KvCache::kPageTokens);
    left -= rows;
    for (int64_t layer = 0; layer < format.layers; ++layer) {
      uint8_t* const first = page->bytes.data() + layer * layer_bytes;
      K2_RETURN_IF_ERROR(visit(first, static_cast<size_t>(rows * row_bytes)));
    }
  }
  return {};
}

// Cuts what is put in into blocks of the file.
class BlockWriter {
 public:
  BlockWriter(NewFile& file, const Header& header, const BlockCheck& check)
      : file_(file), header_checksum_(header.checksum), check_(check) {
    block_.reserve(std::min(header.payload_bytes, kBlockBytes) + kChecksumBytes);
  }

  Status Put(const void* data, size_t size) {
    const uint8_t* bytes = static_cast<const uint8_t*>(data);
    while (size > 0) {
      const size_t taken = std::min<size_t>(size, kBlockBytes - block_.size());
      block_.insert(block_.end(), bytes, bytes + taken);
      bytes += taken;
      size -= taken;
      if (block_.size() == kBlockBytes) K2_RETURN_IF_ERROR(Flush());
    }
    return {};
  }

  Status Flush() {
    if (block_.empty()) return {};
    K2_RETURN_IF_ERROR(check_());
    const uint32_t checksum = BlockChecksum(header_checksum_, index_++, block_.data(), block_.size());
    const uint8_t* const bytes = reinterpret_cast<const uint8_t*>(&checksum);
    block_.insert(block_.end(), bytes, bytes + sizeof checksum);
    const Status written = file_.Write(block_.data(), block_.size());
    block_.clear();
    return written;
  }

 private:
  NewFile& file_;
  const uint32_t header_checksum_;
  const BlockCheck& check_;
  std::vector<uint8_t> block_;
  uint64_t index_ = 0;
};

// Gives out what the blocks of a file hold, each proven before a byte of it is used.
class BlockReader {
 public:
  BlockReader(InputFile& file, const Header& header, const BlockCheck& check)
      : file_(file),
        header_checksum_(header.checksum),
        check_(check),
        left_(header.payload_bytes),
        block_(std::min(header.payload_bytes, kBlockBytes) + kChecksumBytes) {}

  Status Get(void* data, size_t size) {
    uint8_t* bytes = static_cast<uint8_t*>(data);
    while (size > 0) {
      if (next_ == held_) K2_RETURN_IF_ERROR(Fetch());
      const size_t taken = std::min(size, held_ - next_);
      std::memcpy(bytes, block_.data() + next_, taken);
      next_ += taken;
      bytes += taken;
      size -= taken;
    }
    return {};
  }

 private:
  Status Fetch() {
    K2_RETURN_IF_ERROR(check_());
    held_ = std::min(left_, kBlockBytes);
    next_ = 0;
    left_ -= held_;
    K2_RETURN_IF_ERROR(file_.Read(block_.data(), held_ + kChecksumBytes));
    uint32_t stored;
    std::memcpy(&stored, block_.data() + held_, sizeof stored);
    const uint32_t computed = BlockChecksum(header_checksum_, index_++, block_.data(), held_);
    if (stored == computed) return {};
    return Status(ErrorCode::kDamagedFile, "Expected checksum " + std::to_string(stored) + " for block " +
                                               std::to_string(index_ - 1) + " of " + file_.path() + ", got " +
                                               std::to_string(computed));
  }

  InputFile& file_;
  const uint32_t header_checksum_;
  const BlockCheck& check_;
  uint64_t left_;
  std::vector<uint8_t> block_;
  uint64_t index_ = 0;
  size_t held_ = 0, next_ = 0;
};

Status Damaged(const std::string& expected, const std::string& path, const std::string& got) {
  return Status(ErrorCode::kDamagedFile, "Expected " + expected + " for " + path + ", got " + got);
}

Status Incompatible(const std::string& expected, const std::string& path, const std::string& got) {
  return Status(ErrorCode::kIncompatibleFile, "Expected " + expected + " for " + path + ", got " + got);
}

std::string NameOf(uint32_t cache_type) {
  if (cache_type == static_cast<uint32_t>(CacheType::kBf16)) return "bf16";
  if (cache_type == static_cast<uint32_t>(CacheType::kInt8)) return "int8";
  return "number " + std::to_string(cache_type);
}

// The header, once everything in it is known to be true.
Result<Header> ReadHeader(InputFile& file, const SessionFormat& format) {
  const std::string& path = file.path();
  Header h = {};
  constexpr size_t kFixed = offsetof(Header, fingerprint);  // the same in every version
  if (file.size() < kFixed)
    return Damaged("a session file", path, "one of " + std::to_string(file.size()) + " bytes");
  K2_RETURN_IF_ERROR(file.Read(&h, kFixed));
  if (std::memcmp(h.magic, kMagic, sizeof kMagic) != 0)
    return Damaged("a session file", path, "a file of another kind");
  if (h.version != kVersion) {
    return Incompatible("format version " + std::to_string(kVersion), path,
                        "version " + std::to_string(h.version));
  }
  if (file.size() < sizeof(Header)) {
    return Damaged("a header of " + std::to_string(sizeof(Header)) + " bytes", path,
                   "a file of " + std::to_string(file.size()));
  }
  K2_RETURN_IF_ERROR(file.Read(reinterpret_cast<uint8_t*>(&h) + kFixed, sizeof(Header) - kFixed));
  if (h.checksum != ChecksumOf(h) || h.header_bytes != sizeof(Header)) {
    return Damaged("header checksum " + std::to_string(h.checksum), path, std::to_string(ChecksumOf(h)));
  }

  Sha256Digest fingerprint;
  std::copy(std::begin(h.fingerprint), std::end(h.fingerprint), fingerprint.begin());
  if (fingerprint != format.fingerprint) {
    return Incompatible("a session of this checkpoint (" + ToHex(format.fingerprint).substr(0, 16) + ")",
                        path, "one of another (" + ToHex(fingerprint).substr(0, 16) + ")");
  }
  const std::string backend(h.backend, std::find(std::begin(h.backend), std::end(h.backend), '\0'));
  if (backend != format.backend) {
    return Incompatible("a cache of device \"" + format.backend + "\"", path,
                        "one of device \"" + backend + "\"");
  }
  if (h.cache_type != static_cast<uint32_t>(format.cache_type)) {
    return Incompatible("a cache of cacheType \"" + NameOf(static_cast<uint32_t>(format.cache_type)) + "\"",
                        path, "one of cacheType \"" + NameOf(h.cache_type) + "\"");
  }
  if (h.page_tokens != KvCache::kPageTokens || h.page_bytes != static_cast<uint64_t>(format.page_bytes)) {
    return Incompatible("cache pages of " + std::to_string(KvCache::kPageTokens) + " tokens and " +
                            std::to_string(format.page_bytes) + " bytes",
                        path,
                        "pages of " + std::to_string(h.page_tokens) + " tokens and " +
                            std::to_string(h.page_bytes) + " bytes");
  }
  if (h.vocab != static_cast<uint64_t>(format.vocab) || h.tokens > kMostTokens || h.pending > 1 ||
      h.has_logits > 1 || h.pending > h.tokens || h.pending + h.has_logits > 1 ||
      (h.has_logits == 1 && h.tokens == 0) || h.note_bytes > static_cast<uint64_t>(kMostNoteBytes) ||
      h.block_bytes != kBlockBytes || h.payload_bytes != PayloadBytes(h)) {
    return Damaged("a header whose numbers agree", path, "one that contradicts itself");
  }
  if (file.size() != FileBytes(h))
    return Damaged(std::to_string(FileBytes(h)) + " bytes", path, std::to_string(file.size()));
  if (h.tokens > static_cast<uint64_t>(format.context_tokens)) {
    return Status(ErrorCode::kContextFull, "Expected at most " + std::to_string(format.context_tokens) +
                                               " tokens (the context) for the session in " + path + ", got " +
                                               std::to_string(h.tokens));
  }
  return h;
}

}  // namespace

Status WriteSessionFile(const std::string& path, const SessionFormat& format, const SessionContent& content,
                        const BlockCheck& check) {
  K2_RETURN_IF_ERROR(check());
  Result<NewFile> file = NewFile::Create(path);
  if (!file.ok()) return file.status();
  const Header header = MakeHeader(format, content);
  K2_RETURN_IF_ERROR(file.value().Write(&header, sizeof header));
  BlockWriter blocks(file.value(), header, check);
  const float* const logits = content.logits == nullptr ? nullptr : content.logits->data();
  K2_RETURN_IF_ERROR(VisitPayload(format, content, logits,
                                  [&](const void* data, size_t size) { return blocks.Put(data, size); }));
  K2_RETURN_IF_ERROR(blocks.Flush());
  K2_RETURN_IF_ERROR(check());
  return file.value().Publish(true);
}

Result<SessionContent> ReadSessionFile(const std::string& path, const SessionFormat& format,
                                       const BlockCheck& check) {
  K2_RETURN_IF_ERROR(check());
  Result<InputFile> file = InputFile::Open(path);
  if (!file.ok()) return file.status();
  const Result<Header> header = ReadHeader(file.value(), format);
  if (!header.ok()) return header.status();
  const Header& h = header.value();

  SessionContent content;
  content.tokens.resize(h.tokens);
  content.pending = h.pending == 1;
  content.note.resize(h.note_bytes);
  const int64_t pages = (content.cached() + KvCache::kPageTokens - 1) / KvCache::kPageTokens;
  for (int64_t i = 0; i < pages; ++i) {
    Result<AlignedBuffer> memory =
        AlignedBuffer::Allocate(static_cast<size_t>(format.page_bytes), "a cache page");
    if (!memory.ok()) return memory.status();
    content.pages.push_back(std::make_shared<CachePage>(std::move(memory.value())));
  }
  std::vector<float> logits(h.has_logits == 1 ? h.vocab : 0);
  BlockReader blocks(file.value(), h, check);
  K2_RETURN_IF_ERROR(VisitPayload(format, content, logits.empty() ? nullptr : logits.data(),
                                  [&](void* data, size_t size) { return blocks.Get(data, size); }));

  // Sums that agree say nothing about a file that was made to harm.
  const auto unknown = [&](int32_t id) { return id < 0 || id >= format.vocab; };
  if (const auto id = std::find_if(content.tokens.begin(), content.tokens.end(), unknown);
      id != content.tokens.end()) {
    return Damaged("token ids below " + std::to_string(format.vocab), path, std::to_string(*id));
  }
  if (!std::all_of(logits.begin(), logits.end(), [](float logit) { return std::isfinite(logit); }))
    return Damaged("finite logits", path, "others");
  if (!logits.empty()) content.logits = std::make_shared<const std::vector<float>>(std::move(logits));
  return content;
}

}  // namespace k2
