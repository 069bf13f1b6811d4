// A session in a file (docs/session-files.md has the layout): header, then ids, note, logits, form bits and
// cached rows as one stream, cut into blocks that each carry a checksum. The checksum of a block begins with
// those of the header and its own number, so that a block of another place or file is found out.
//
// Written and read block by block: beside the session itself, one block is in memory. Reading believes
// nothing: the header must be sound, of this checkpoint and fit the real size of the file before anything is
// allocated, and every block is proven before a session is made of it.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/sha256.h"
#include "model/kv_cache.h"

namespace k2 {

// Most bytes of a note.
inline constexpr int64_t kMostNoteBytes = int64_t{1} << 26;

// What must agree for a file to belong to a loaded model.
struct SessionFormat {
  Sha256Digest fingerprint = {};
  std::string backend;                      // what the bytes of a page mean: the device,
  CacheType cache_type = CacheType::kBf16;  // and what it stores latents in
  int64_t layers = 0;
  int64_t page_bytes = 0;
  int64_t vocab = 0;
  int64_t context_tokens = 0;
};

// All that a session is. Shares pages, and never writes to them.
struct SessionContent {
  std::vector<int32_t> tokens;
  bool pending = false;  // the last token has no row in `pages`
  std::vector<KvCache::Page> pages;
  std::shared_ptr<const std::vector<float>> logits;  // [V], or null
  std::string note;                                  // the caller's own text

  int64_t cached() const { return static_cast<int64_t>(tokens.size()) - (pending ? 1 : 0); }
};

// Asked before every block; a failure ends the work with that status.
using BlockCheck = std::function<Status()>;

// Replaces what is at `path` by `content` in one step; on failure `path` holds what it held.
Status WriteSessionFile(const std::string& path, const SessionFormat& format, const SessionContent& content,
                        const BlockCheck& check);

// kIo, kDamagedFile, kIncompatibleFile (another checkpoint, backend or version), kContextFull, kOutOfMemory.
Result<SessionContent> ReadSessionFile(const std::string& path, const SessionFormat& format,
                                       const BlockCheck& check);

}  // namespace k2
