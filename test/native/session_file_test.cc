// Files of sessions by themselves, on content that is made up; what an engine makes of them is in
// engine_files_test.cc.
#include "engine/session_file.h"

#include <random>

#include "base/crc32c.h"
#include "base/file.h"
#include "check.h"
#include "temporary_folder.h"

namespace k2 {
namespace {

using test::ReadBytes;
using test::TemporaryFolder;
using test::WriteBytes;

constexpr int64_t kPage = KvCache::kPageTokens;
constexpr size_t kHeaderBytes = 120, kChecksumAt = 116;

SessionFormat Format(int64_t row_bytes = 16) {
  SessionFormat format{.backend = "cpu",
                       .layers = 2,
                       .page_bytes = 2 * kPage * row_bytes,
                       .vocab = 50,
                       .context_tokens = 4096};
  for (size_t i = 0; i < format.fingerprint.size(); ++i) format.fingerprint[i] = static_cast<uint8_t>(i + 1);
  return format;
}

SessionContent Content(const SessionFormat& format, size_t tokens, bool pending, bool logits) {
  std::mt19937 random(3);
  SessionContent content;
  for (size_t i = 0; i < tokens; ++i) content.tokens.push_back(static_cast<int32_t>(random() % 50));
  content.pending = pending;
  for (int64_t left = content.cached(); left > 0; left -= kPage) {
    auto page = std::make_shared<CachePage>(
        std::move(AlignedBuffer::Allocate(static_cast<size_t>(format.page_bytes), "a page").value()));
    for (size_t i = 0; i < page->bytes.size(); ++i) page->bytes.data()[i] = static_cast<uint8_t>(random());
    page->expanded = random() | uint64_t{random()} << 32;
    content.pages.push_back(page);
  }
  std::vector<float> row;
  for (int64_t i = 0; i < format.vocab; ++i) row.push_back(static_cast<float>(random() % 1000) / 7);
  if (logits) content.logits = std::make_shared<const std::vector<float>>(row);
  content.note = "{\"messages\":[]}";
  return content;
}

// Everything but rows that hold nothing.
bool Same(const SessionFormat& format, const SessionContent& a, const SessionContent& b) {
  if (a.tokens != b.tokens || a.pending != b.pending || a.note != b.note) return false;
  if (a.pages.size() != b.pages.size() || (a.logits == nullptr) != (b.logits == nullptr)) return false;
  if (a.logits != nullptr && *a.logits != *b.logits) return false;
  const int64_t layer = format.page_bytes / format.layers, row = layer / kPage;
  for (size_t i = 0; i < a.pages.size(); ++i) {
    if (a.pages[i]->expanded != b.pages[i]->expanded) return false;
    const int64_t rows = std::min(a.cached() - static_cast<int64_t>(i) * kPage, kPage);
    for (int64_t l = 0; l < format.layers; ++l) {
      if (std::memcmp(a.pages[i]->bytes.data() + l * layer, b.pages[i]->bytes.data() + l * layer,
                      static_cast<size_t>(rows * row)) != 0)
        return false;
    }
  }
  return true;
}

Status Always() { return {}; }

Status ReadStatus(const std::string& path, const SessionFormat& format) {
  return ReadSessionFile(path, format, Always).status();
}

void FixHeader(std::string& bytes) {
  const uint32_t checksum = Crc32c(0, bytes.data(), kChecksumAt);
  std::memcpy(&bytes[kChecksumAt], &checksum, sizeof checksum);
}

}  // namespace

TEST(SessionFileGivesBackWhatItGot) {
  const TemporaryFolder folder;
  const std::string path = folder / "session";
  for (const int64_t row_bytes : {16, 8192}) {  // the second one takes several blocks
    const SessionFormat format = Format(row_bytes);
    for (const size_t tokens : {0, 1, 63, 64, 65, 200}) {
      for (const bool pending : {false, true}) {
        if (tokens == 0 && pending) continue;
        const SessionContent content = Content(format, tokens, pending, tokens > 0 && !pending);
        EXPECT(WriteSessionFile(path, format, content, Always).ok());
        const Result<SessionContent> read = ReadSessionFile(path, format, Always);
        EXPECT(read.ok() && Same(format, content, read.value()));
      }
    }
  }
}

TEST(SessionFileHoldsNoRowsThatMeanNothing) {
  const TemporaryFolder folder;
  const std::string path = folder / "session";
  const SessionFormat format = Format();
  SessionContent content = Content(format, kPage + 1, true, false);
  EXPECT(WriteSessionFile(path, format, content, Always).ok());
  const size_t whole = ReadBytes(path).size();
  content = Content(format, kPage + 2, true, false);
  const int64_t layer = format.page_bytes / 2;
  for (int64_t l = 0; l < 2; ++l) std::memset(content.pages[1]->bytes.data() + l * layer, 'R', 16);
  for (int64_t l = 0; l < 2; ++l) {
    std::memset(content.pages[1]->bytes.data() + l * layer + 16, 'S', static_cast<size_t>(layer - 16));
  }
  EXPECT(WriteSessionFile(path, format, content, Always).ok());
  const std::string bytes = ReadBytes(path);
  // One id, one row in each layer, the form bits of one page.
  EXPECT(bytes.size() == whole + 4 + 2 * 16 + 8);
  EXPECT(bytes.find(std::string(16, 'R')) != std::string::npos);
  EXPECT(bytes.find("SSSS") == std::string::npos);
}

TEST(SessionFileFindsEveryFlippedBit) {
  const TemporaryFolder folder;
  const std::string path = folder / "session";
  const SessionFormat format = Format();
  EXPECT(WriteSessionFile(path, format, Content(format, 70, false, true), Always).ok());
  const std::string sound = ReadBytes(path);
  std::mt19937 random(7);
  for (size_t at = 0; at < sound.size(); ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      // Of the header every bit, of the rest one in each byte.
      if (at >= kHeaderBytes && bit > 0) break;
      std::string bytes = sound;
      bytes[at] = static_cast<char>(bytes[at] ^ (1 << (at < kHeaderBytes ? bit : random() % 8)));
      WriteBytes(path, bytes);
      const Status status = ReadStatus(path, format);
      const bool is_version = at >= 8 && at < 12;
      EXPECT(status.code() == (is_version ? ErrorCode::kIncompatibleFile : ErrorCode::kDamagedFile));
      EXPECT(status.message().find(path) != std::string::npos);
    }
  }
  WriteBytes(path, sound);
  EXPECT(ReadStatus(path, format).ok());
}

TEST(SessionFileFindsEveryTruncation) {
  const TemporaryFolder folder;
  const std::string path = folder / "session";
  const SessionFormat format = Format();
  EXPECT(WriteSessionFile(path, format, Content(format, 70, false, true), Always).ok());
  const std::string sound = ReadBytes(path);
  for (size_t size = 0; size < sound.size(); ++size) {
    WriteBytes(path, sound.substr(0, size));
    EXPECT(ReadStatus(path, format).code() == ErrorCode::kDamagedFile);
  }
  WriteBytes(path, sound + '\0');
  EXPECT(ReadStatus(path, format).code() == ErrorCode::kDamagedFile);
}

TEST(SessionFileKnowsThePlaceOfEveryBlock) {
  const TemporaryFolder folder;
  const std::string path = folder / "session";
  const SessionFormat format = Format(8192);
  EXPECT(WriteSessionFile(path, format, Content(format, 200, true, false), Always).ok());
  const std::string sound = ReadBytes(path);
  constexpr size_t kBlock = (1 << 20) + 4;
  EXPECT(sound.size() > kHeaderBytes + 3 * kBlock);
  // Both hold nothing but rows, of which all bytes are possible.
  const size_t second = kHeaderBytes + kBlock, third = second + kBlock;
  std::string swapped = sound;
  swapped.replace(second, kBlock, sound, third, kBlock);
  swapped.replace(third, kBlock, sound, second, kBlock);
  WriteBytes(path, swapped);
  EXPECT(ReadStatus(path, format).code() == ErrorCode::kDamagedFile);
  // A block of another file, whose header differs by its tokens alone.
  EXPECT(WriteSessionFile(path, format, Content(format, 201, true, false), Always).ok());
  std::string mixed = sound;
  mixed.replace(kHeaderBytes, kBlock, ReadBytes(path), kHeaderBytes, kBlock);
  WriteBytes(path, mixed);
  EXPECT(ReadStatus(path, format).code() == ErrorCode::kDamagedFile);
}

TEST(SessionFileBelievesNoHeader) {
  const TemporaryFolder folder;
  const std::string path = folder / "session";
  const SessionFormat format = Format();
  EXPECT(WriteSessionFile(path, format, Content(format, 70, false, true), Always).ok());
  const std::string sound = ReadBytes(path);
  // With its checksum put right: no number of the header may lead to a large allocation or beyond the file.
  std::mt19937_64 random(9);
  const uint64_t values[] = {
      0, 1, 2, 0x7fffffff, 0x80000000, 0xffffffff, 0x100000000, ~uint64_t{0}, uint64_t{1} << 63};
  const size_t allocated = AllocatedBytes();
  for (size_t at = 8; at < kChecksumAt; at += 4) {
    for (const size_t width : {4, 8}) {
      for (size_t i = 0; i < 40 && at + width <= kChecksumAt; ++i) {
        const uint64_t value = i < std::size(values) ? values[i] : random() >> (random() % 64);
        std::string bytes = sound;
        std::memcpy(&bytes[at], &value, width);
        if (bytes == sound) continue;
        FixHeader(bytes);
        WriteBytes(path, bytes);
        const ErrorCode code = ReadStatus(path, format).code();
        EXPECT(code == ErrorCode::kDamagedFile || code == ErrorCode::kIncompatibleFile);
      }
    }
  }
  EXPECT(AllocatedBytes() == allocated);

  // A number of tokens whose sizes wrap around to those of a small file: 64 v tokens take 8 * 289 v bytes.
  uint64_t inverse = 1;  // of 289, by Newton's iteration modulo 2^64
  for (int i = 0; i < 6; ++i) inverse *= 2 - 289 * inverse;
  int wrapped = 0;
  for (uint64_t payload = 8; payload < 4096; payload += 8) {
    const uint64_t v = payload / 8 * inverse & ((uint64_t{1} << 61) - 1);
    if (v < 1000 || v >= uint64_t{1} << 58) continue;
    std::string bytes = sound.substr(0, kHeaderBytes) + std::string(payload, '\0');
    const uint64_t tokens = 64 * v, none = 0;
    std::memcpy(&bytes[80], &tokens, 8);
    std::memcpy(&bytes[88], &none, 8);  // nothing pending, no logits
    std::memcpy(&bytes[96], &none, 8);  // no note
    std::memcpy(&bytes[104], &payload, 8);
    FixHeader(bytes);
    const uint32_t header = Crc32c(0, bytes.data(), kChecksumAt);
    const uint32_t seed = Crc32c(header, &none, sizeof none);
    const uint32_t checksum = Crc32c(seed, &bytes[kHeaderBytes], payload);
    bytes.append(reinterpret_cast<const char*>(&checksum), sizeof checksum);
    WriteBytes(path, bytes);
    EXPECT(ReadStatus(path, format).code() == ErrorCode::kDamagedFile);
    ++wrapped;
  }
  EXPECT(wrapped > 10);
}

TEST(SessionFileSaysWhatDoesNotFit) {
  const TemporaryFolder folder;
  const std::string path = folder / "session";
  const SessionFormat format = Format();
  EXPECT(WriteSessionFile(path, format, Content(format, 70, false, true), Always).ok());
  const auto expect = [&](const SessionFormat& other, ErrorCode code, const char* part) {
    const Status status = ReadStatus(path, other);
    EXPECT(status.code() == code && status.message().find(part) != std::string::npos);
    EXPECT(status.message().find(path) != std::string::npos);
  };
  SessionFormat other = format;
  other.fingerprint[0] ^= 1;
  expect(other, ErrorCode::kIncompatibleFile, "of this checkpoint");
  other = format;
  other.backend = "reference";
  expect(other, ErrorCode::kIncompatibleFile, "device \"reference\"");
  other = format;
  other.cache_type = CacheType::kInt8;
  expect(other, ErrorCode::kIncompatibleFile, "cacheType \"int8\"");
  other = format;
  other.page_bytes *= 2;
  expect(other, ErrorCode::kIncompatibleFile, "pages of 64 tokens and 4096 bytes");
  other = format;
  other.context_tokens = 69;
  expect(other, ErrorCode::kContextFull, "at most 69 tokens");
  std::string bytes = ReadBytes(path);
  bytes[8] = 2;
  FixHeader(bytes);
  WriteBytes(path, bytes);
  expect(format, ErrorCode::kIncompatibleFile, "got version 2");
  WriteBytes(path, "a text of somebody else");
  expect(format, ErrorCode::kDamagedFile, "a file of another kind");
  expect(format, ErrorCode::kDamagedFile, "a session file");
}

TEST(SessionFileChecksWhatSumsCannot) {
  const TemporaryFolder folder;
  const std::string path = folder / "session";
  const SessionFormat format = Format();
  for (const int32_t id : {-1, 50, INT32_MAX, INT32_MIN}) {
    SessionContent content = Content(format, 5, true, false);
    content.tokens[3] = id;
    EXPECT(WriteSessionFile(path, format, content, Always).ok());
    EXPECT(ReadStatus(path, format).code() == ErrorCode::kDamagedFile);
  }
  SessionContent content = Content(format, 5, false, true);
  std::vector<float> logits = *content.logits;
  logits[7] = NAN;
  content.logits = std::make_shared<const std::vector<float>>(logits);
  EXPECT(WriteSessionFile(path, format, content, Always).ok());
  EXPECT(ReadStatus(path, format).code() == ErrorCode::kDamagedFile);
}

TEST(SessionFileSurvivesEveryFailedCallAndAllocation) {
  const TemporaryFolder folder;
  const std::string path = folder / "session";
  const SessionFormat format = Format(8192);
  const SessionContent old_content = Content(format, 10, false, true);
  const SessionContent content = Content(format, 130, true, false);
  const size_t allocated = AllocatedBytes();
  bool clean = false;
  for (int k = 1; k < 40 && !clean; ++k) {
    EXPECT(WriteSessionFile(path, format, old_content, Always).ok());
    FailFileCallForTest(k);
    const Status status = WriteSessionFile(path, format, content, Always);
    FailFileCallForTest(0);
    clean = status.ok();
    EXPECT(clean || status.code() == ErrorCode::kIo);
    const Result<SessionContent> read = ReadSessionFile(path, format, Always);
    EXPECT(read.ok() &&
           (Same(format, read.value(), content) || (!clean && Same(format, read.value(), old_content))));
    EXPECT(folder.Names() == std::vector<std::string>{"session"});
  }
  EXPECT(clean);
  for (const bool files : {true, false}) {
    clean = false;
    for (int k = 1; k < 40 && !clean; ++k) {
      files ? FailFileCallForTest(k) : FailAllocationForTest(k);
      const Status status = ReadStatus(path, format);
      FailFileCallForTest(0);
      FailAllocationForTest(0);
      clean = status.ok();
      EXPECT(clean || status.code() == (files ? ErrorCode::kIo : ErrorCode::kOutOfMemory));
    }
    EXPECT(clean);
  }
  EXPECT(AllocatedBytes() == allocated);
}

TEST(SessionFileStopsBetweenBlocks) {
  const TemporaryFolder folder;
  const std::string path = folder / "session";
  const SessionFormat format = Format(8192);
  const SessionContent content = Content(format, 130, true, false);
  bool clean = false;
  for (int k = 0; k < 10 && !clean; ++k) {
    int asked = 0;
    const Status status = WriteSessionFile(
        path, format, content, [&] { return asked++ == k ? Status(ErrorCode::kAborted, "") : Status(); });
    clean = status.ok();
    EXPECT(clean || status.code() == ErrorCode::kAborted);
    EXPECT(folder.Names().size() == (clean ? 1 : 0));
  }
  EXPECT(clean);
  int asked = 0;
  const auto third = [&] { return ++asked == 3 ? Status(ErrorCode::kAborted, "") : Status(); };
  EXPECT(ReadSessionFile(path, format, third).status().code() == ErrorCode::kAborted);
}

}  // namespace k2
