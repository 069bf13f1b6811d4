#include "model/expert_reader.h"

#include <algorithm>
#include <chrono>
#include <system_error>
#include <utility>

namespace k2 {
namespace {

// Reads of 1 MiB, 8 at a time, reach what the disk gives (docs/performance.md), and are short enough that a
// needed expert does not wait long behind a guess.
constexpr int kThreads = 8;
constexpr uint64_t kChunkBytes = 1 << 20;

int64_t NowNs() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace

ExpertReader::ExpertReader(std::vector<DirectFile> files, int64_t slots, std::mutex& lock, Done done)
    : files_(std::move(files)), lock_(lock), done_(std::move(done)), tasks_(static_cast<size_t>(slots)) {
  needed_.slots.reserve(static_cast<size_t>(slots));
  guessed_.slots.reserve(static_cast<size_t>(slots));
}

ExpertReader::~ExpertReader() {
  {
    std::lock_guard lock(lock_);
    stopped_ = true;
  }
  wake_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

Status ExpertReader::Start() {
  try {
    threads_.reserve(kThreads);
    for (int i = 0; i < kThreads; ++i) threads_.emplace_back([this] { Run(); });
  } catch (const std::system_error& error) {
    return Status(ErrorCode::kOutOfMemory, "Expected " + std::to_string(kThreads) +
                                               " threads that read experts, got: " + error.what());
  }
  return {};
}

void ExpertReader::Line::Remove(int32_t slot) {
  slots.erase(std::remove(slots.begin(), slots.end(), slot), slots.end());
}

void ExpertReader::Queue(int32_t slot, std::span<const Extent> extents, uint8_t* memory, bool is_guess) {
  tasks_[static_cast<size_t>(slot)] = {.extents = extents, .memory = memory};
  (is_guess ? guessed_ : needed_).slots.push_back(slot);
  wake_.notify_all();
}

void ExpertReader::Promote(int32_t slot) {
  if (!tasks_[static_cast<size_t>(slot)].is_queued()) return;
  guessed_.Remove(slot);
  needed_.Remove(slot);
  needed_.slots.push_back(slot);
}

bool ExpertReader::Cancel(int32_t slot) {
  Task& task = tasks_[static_cast<size_t>(slot)];
  if (task.is_begun || !task.is_queued()) return false;
  needed_.Remove(slot);
  guessed_.Remove(slot);
  task = {};
  return true;
}

void ExpertReader::Run() {
  std::unique_lock lock(lock_);
  for (;;) {
    wake_.wait(lock, [this] { return stopped_ || !needed_.slots.empty() || !guessed_.slots.empty(); });
    if (stopped_) return;
    const Chunk chunk = TakeChunk(needed_.slots.empty() ? guessed_ : needed_);
    if (under_way_++ == 0) busy_since_ns_ = NowNs();
    lock.unlock();
    const int result =
        files_[static_cast<size_t>(chunk.file)].Read(chunk.offset, chunk.bytes, chunk.least, chunk.memory);
    lock.lock();
    if (--under_way_ == 0) busy_ns_ += NowNs() - busy_since_ns_;
    if (result == 0) read_bytes_ += static_cast<int64_t>(chunk.least);
    Finish(chunk, result);
  }
}

ExpertReader::Chunk ExpertReader::TakeChunk(Line& line) {
  const int32_t slot = line.slots.front();
  Task& task = tasks_[static_cast<size_t>(slot)];
  const Extent& extent = task.extents[task.extent];
  const uint64_t bytes = std::min(kChunkBytes, extent.bytes - task.offset);
  const Chunk chunk = {.slot = slot,
                       .file = extent.file,
                       .offset = extent.offset + task.offset,
                       .bytes = bytes,
                       .least = std::min(bytes, extent.least - task.offset),
                       .memory = task.memory};
  task.memory += bytes;
  task.offset += bytes;
  task.is_begun = true;
  ++task.under_way;
  if (task.offset == extent.bytes) {
    task.offset = 0;
    if (++task.extent == task.extents.size()) line.slots.erase(line.slots.begin());
  }
  return chunk;
}

void ExpertReader::Finish(const Chunk& chunk, int result) {
  Task& task = tasks_[static_cast<size_t>(chunk.slot)];
  if (result != 0 && task.result == 0) {
    task.result = result;
    task.failed_file = chunk.file;
  }
  --task.under_way;
  if (task.result != 0 && task.is_queued()) {  // the rest is of no use
    needed_.Remove(chunk.slot);
    guessed_.Remove(chunk.slot);
    task.extent = task.extents.size();
  }
  if (task.under_way > 0 || task.is_queued()) return;
  const int outcome = task.result;
  const int32_t file = task.failed_file;
  task = {};
  done_(chunk.slot, outcome, file);
}

}  // namespace k2
