// What ExpertStore reads per second, against plain direct reads of the same file by as many threads into as much
// memory of the same pages, in turn: raw, store, store, raw. The experts have K2's sizes and lie as in its files. Linux.
//
//   ninja -C build/tests k2_expert_store && build/tests/k2_expert_store [folder with room for 3.2 GB]
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <random>
#include <thread>

#include "model/expert_store.h"

namespace k2 {
namespace {

constexpr int64_t kExperts = 128, kHidden = 7168, kWidth = 2048, kGroup = 32;
constexpr int64_t kPacked = kHidden * kWidth / 2, kScales = kHidden * kWidth / kGroup * 2;
constexpr int kReaders = 8;  // as the store has
constexpr int64_t kChunk = 1 << 20;
constexpr int64_t kMemory = int64_t{600} << 20;

double Seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

int64_t FileBytes() { return kExperts * 3 * (kPacked + kScales); }

bool WriteFile(const std::string& path) {
  const int file = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  if (file < 0) return false;
  std::mt19937_64 random(1);
  std::vector<uint64_t> block(kChunk / 8);
  bool is_written = true;
  for (int64_t done = 0; done < FileBytes() && is_written; done += kChunk) {
    for (uint64_t& word : block) word = random();
    is_written = write(file, block.data(), kChunk) == kChunk;
  }
  is_written = is_written && fsync(file) == 0;
  close(file);
  return is_written;
}

// All packed matrices first, expert by expert, then all scales.
Weights WeightsIn(MappedFile mapped) {
  Weights weights;
  weights.files.push_back(std::move(mapped));
  const uint8_t* const data = weights.files[0].data();
  LayerWeights& layer = weights.layers.emplace_back();
  layer.moe = true;
  for (int64_t i = 0; i < 3 * kExperts; ++i) {
    const bool is_down = i % 3 == 2;
    layer.expert_weights.push_back({.storage = Storage::kInt4,
                                    .scale_storage = Storage::kBf16,
                                    .block_rows = 1,
                                    .block_columns = kGroup,
                                    .rows = is_down ? kHidden : kWidth,
                                    .columns = is_down ? kWidth : kHidden,
                                    .data = data + i * kPacked,
                                    .scales = data + 3 * kExperts * kPacked + i * kScales,
                                    .file = 0});
  }
  return weights;
}

// Bytes per second of all chunks of the file, in any order, into so much memory.
double RawRate(const std::string& path, uint32_t seed, uint8_t* memory, int64_t memory_bytes) {
  std::vector<int64_t> chunks(static_cast<size_t>(FileBytes() / kChunk));
  std::iota(chunks.begin(), chunks.end(), 0);
  std::shuffle(chunks.begin(), chunks.end(), std::mt19937(seed));
  std::atomic<size_t> next{0};
  std::atomic<bool> is_sound{true};
  const double start = Seconds();
  std::vector<std::thread> readers;
  for (int i = 0; i < kReaders; ++i) {
    readers.emplace_back([&] {
      const int file = open(path.c_str(), O_RDONLY | O_DIRECT);
      for (size_t chunk; (chunk = next.fetch_add(1)) < chunks.size();) {
        uint8_t* const place = memory + static_cast<int64_t>(chunk) * kChunk % memory_bytes;
        if (pread(file, place, kChunk, chunks[chunk] * kChunk) != kChunk) is_sound = false;
      }
      close(file);
    });
  }
  for (std::thread& reader : readers) reader.join();
  return is_sound ? static_cast<double>(FileBytes()) / (Seconds() - start) : 0;
}

// The same of a layer that uses all experts, in rounds of 4, and computes nothing.
double StoreRate(ExpertStore& store, const ExpertCounters& counters) {
  std::vector<int32_t> all(kExperts);
  std::iota(all.begin(), all.end(), 0);
  const int64_t before = counters.read_bytes;
  const double start = Seconds();
  store.Begin(0, all, 4);
  for (;;) {
    const Result<ExpertStore::Round> round = store.Next([] { return true; });
    if (!round.ok()) return 0;
    if (round.value().empty()) break;
  }
  return static_cast<double>(counters.read_bytes - before) / (Seconds() - start);
}

int Main(const std::string& folder) {
  const std::string path = folder + "/k2-expert-store";
  if (!WriteFile(path)) {
    std::perror(path.c_str());
    return 1;
  }
  Result<MappedFile> mapped = MappedFile::Open(path);
  if (!mapped.ok()) return 1;
  const Weights weights = WeightsIn(std::move(mapped.value()));
  ModelSpec spec;
  spec.layers = 1;
  spec.experts = kExperts;
  spec.chosen = 8;
  ExpertCounters counters;
  Result<std::unique_ptr<ExpertStore>> store =
      ExpertStore::Create(spec, weights, kMemory, &counters);
  Result<AlignedBuffer> buffer = AlignedBuffer::Allocate(kMemory + 4096, "the plain reads");
  if (!buffer.ok()) return 1;
  uint8_t* const memory =
      buffer.value().data() + (4096 - reinterpret_cast<uintptr_t>(buffer.value().data()) % 4096);
  std::vector<double> ratios;
  for (uint32_t i = 0; store.ok() && i < 7; ++i) {
    const double raw = RawRate(path, 2 * i, memory, kMemory), first = StoreRate(*store.value(), counters);
    const double second = StoreRate(*store.value(), counters), last = RawRate(path, 2 * i + 1, memory, kMemory);
    std::printf("raw %.2f, store %.2f and %.2f, raw %.2f GB/s\n", raw / 1e9, first / 1e9, second / 1e9,
                last / 1e9);
    ratios.push_back((1 / raw + 1 / last) / (1 / first + 1 / second));
  }
  unlink(path.c_str());
  if (!store.ok()) {
    std::fprintf(stderr, "%s\n", store.status().message().c_str());
    return 1;
  }
  std::sort(ratios.begin(), ratios.end());
  std::printf("store / raw: median %.2f, least %.2f, greatest %.2f\n", ratios[ratios.size() / 2],
              ratios.front(), ratios.back());
  return 0;
}

}  // namespace
}  // namespace k2

int main(int count, char** words) { return k2::Main(count > 1 ? words[1] : "/tmp"); }
