// Threads that read experts from files into slots: what is needed first, guesses while nothing else is to be
// read. An expert is read in chunks, several at once, since one read alone does not keep a fast disk busy.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "base/direct_file.h"

namespace k2 {

// Bytes that lie together in a file, rounded outwards to whole blocks.
struct Extent {
  int32_t file = 0;
  uint64_t offset = 0;
  uint64_t bytes = 0;  // all multiples of DirectFile::kBlockBytes
  uint64_t least = 0;  // bytes that the file must have; its last block may be cut off
};

class ExpertReader {
 public:
  // `done(slot, result, file)` is called once for every slot that was queued and not cancelled, by a thread
  // of the reader that holds the lock: 0, or what DirectFile::Read gave for a part that could not be read.
  using Done = std::function<void(int32_t slot, int result, int32_t file)>;

  // `lock` guards this object and whatever `done` touches. Every slot can be queued at the same time.
  ExpertReader(std::vector<DirectFile> files, int64_t slots, std::mutex& lock, Done done);
  // Cancels what nobody has begun to read, and waits for the rest.
  ~ExpertReader();

  Status Start();

  // All below: the caller holds the lock.

  void Queue(int32_t slot, std::span<const Extent> extents, uint8_t* memory, bool is_guess);
  // A guess that has turned out to be needed.
  void Promote(int32_t slot);
  // True if nothing of the slot had been read yet, and now never will be.
  bool Cancel(int32_t slot);

  const DirectFile& file(int32_t i) const { return files_[static_cast<size_t>(i)]; }
  int64_t read_bytes() const { return read_bytes_; }
  // Time during which at least one read was under way.
  int64_t busy_ns() const { return busy_ns_; }

 private:
  // What is left to read of a slot.
  struct Task {
    std::span<const Extent> extents;
    uint8_t* memory = nullptr;
    size_t extent = 0;    // the next chunk begins in this one,
    uint64_t offset = 0;  // so many bytes behind its beginning
    int under_way = 0;
    bool is_begun = false;
    int result = 0;
    int32_t failed_file = 0;
    bool is_queued() const { return extent < extents.size(); }
  };
  // A queue of slots, each at most once, that takes no memory.
  struct Line {
    std::vector<int32_t> slots;
    void Remove(int32_t slot);
  };
  struct Chunk {
    int32_t slot, file;
    uint64_t offset;
    size_t bytes, least;
    uint8_t* memory;
  };

  void Run();
  Chunk TakeChunk(Line& line);
  void Finish(const Chunk& chunk, int result);

  std::vector<DirectFile> files_;
  std::mutex& lock_;
  const Done done_;
  std::condition_variable wake_;
  std::vector<Task> tasks_;  // [slots]
  Line needed_, guessed_;
  int under_way_ = 0;
  int64_t busy_since_ns_ = 0, busy_ns_ = 0, read_bytes_ = 0;
  bool stopped_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace k2
