// Number formats, cache pages, the thread pool and YaRN.
#include <atomic>
#include <cmath>
#include <map>
#include <set>

#include "base/buffer.h"
#include "base/dtype.h"
#include "base/thread_pool.h"
#include "check.h"
#include "model/kv_cache.h"
#include "model/spec.h"

namespace k2 {

TEST(Bf16RoundsToNearestEven) {
  for (uint32_t i = 0; i < 0x10000; ++i) {
    const uint16_t bits = static_cast<uint16_t>(i);
    const float value = Bf16ToFloat(bits);
    if (std::isnan(value)) {
      EXPECT(std::isnan(Bf16ToFloat(FloatToBf16(value))));
      continue;
    }
    EXPECT(FloatToBf16(value) == bits);
    if (!std::isfinite(value) || std::isinf(Bf16ToFloat(static_cast<uint16_t>(bits + 1)))) continue;
    const float half = std::bit_cast<float>(static_cast<uint32_t>(bits) << 16 | 0x8000u);
    EXPECT(FloatToBf16(half) == static_cast<uint16_t>(bits + (bits & 1)));
    EXPECT(FloatToBf16(std::nextafter(half, 0.0f)) == bits);
  }
}

TEST(F16AndE4m3AreExact) {
  EXPECT(F16ToFloat(0x3c00) == 1.0f);
  EXPECT(F16ToFloat(0xc000) == -2.0f);
  EXPECT(F16ToFloat(0x0001) == 0x1p-24f);
  EXPECT(F16ToFloat(0x8400) == -0x1p-14f);
  EXPECT(F16ToFloat(0x7bff) == 65504.0f);
  EXPECT(std::isinf(F16ToFloat(0x7c00)) && std::isnan(F16ToFloat(0x7e00)));
  EXPECT(E4m3ToFloat(0x7e) == 448.0f);
  EXPECT(E4m3ToFloat(0x01) == 0x1p-9f);
  EXPECT(E4m3ToFloat(0x38) == 1.0f);
  EXPECT(E4m3ToFloat(0xb9) == -1.125f);
  EXPECT(std::isnan(E4m3ToFloat(0x7f)) && std::isnan(E4m3ToFloat(0xff)));
}

TEST(Int4DecodesTheKnownWord) {
  // By hand: q = -8 -7 -1 0 1 2 6 7 is the word 0xFEA98710.
  const uint8_t data[4] = {0x10, 0x87, 0xa9, 0xfe};
  const float scale = 0.5f;
  Weight weight;
  weight.storage = Storage::kInt4;
  weight.block_rows = 1;
  weight.block_columns = 32;
  weight.rows = 1;
  weight.columns = 8;
  weight.data = data;
  weight.scales = reinterpret_cast<const uint8_t*>(&scale);
  float row[8];
  DecodeRow(weight, 0, row);
  const float expected[8] = {-4, -3.5, -0.5, 0, 0.5, 1, 3, 3.5};
  for (int i = 0; i < 8; ++i) EXPECT(row[i] == expected[i]);
}

TEST(KvCacheForksShareAndCopyOnWrite) {
  KvCache cache(2, 16);
  EXPECT(cache.Reserve(100).ok());
  cache.Commit(100, AttentionForm::kAbsorbed);
  cache.Layer(0).pages[1][0] = 7;
  const size_t before = AllocatedBytes();
  KvCache fork = cache.Fork();
  EXPECT(AllocatedBytes() == before);
  EXPECT(fork.Reserve(1).ok());
  // The full first page stays shared; the half-filled second one is the fork's own now, with the same
  // content.
  EXPECT(fork.Layer(0).pages[0] == cache.Layer(0).pages[0]);
  EXPECT(fork.Layer(0).pages[1] != cache.Layer(0).pages[1]);
  EXPECT(fork.Layer(0).pages[1][0] == 7);
  EXPECT(AllocatedBytes() == before + 2 * 64 * 16);
  fork.Truncate(64);
  EXPECT(AllocatedBytes() == before);
  FailAllocationForTest(1);
  EXPECT(!fork.Reserve(1).ok());
  EXPECT(fork.length() == 64 && fork.Layer(1).pages.size() == 1);
  FailAllocationForTest(0);
}

TEST(BufferListenersHearOfEveryBuffer) {
  struct Listener final : BufferListener {
    void OnAllocate(const uint8_t* data, size_t size) override { alive[data] = size; }
    void OnRelease(const uint8_t* data) override { EXPECT(alive.erase(data) == 1); }
    std::map<const uint8_t*, size_t> alive;
  } one, two;
  const auto take = [](size_t size) { return std::move(AlignedBuffer::Allocate(size, "a test").value()); };
  AddBufferListener(&one);
  AlignedBuffer small = take(100);
  AddBufferListener(&two);
  {
    AlignedBuffer large = take(1 << 20), moved = std::move(large);
    EXPECT(one.alive.size() == 2 && one.alive[small.data()] == 100);
    EXPECT(two.alive.size() == 1 && two.alive[moved.data()] == 1 << 20);
    FailAllocationForTest(1);
    EXPECT(!AlignedBuffer::Allocate(64, "a test").ok());
    FailAllocationForTest(0);
  }
  EXPECT(one.alive.size() == 1 && two.alive.empty());
  RemoveBufferListener(&two);
  small = AlignedBuffer();
  EXPECT(one.alive.empty());
  RemoveBufferListener(&one);
  EXPECT(take(64).size() == 64);
}

TEST(ThreadPoolCoversEveryIndexOnce) {
  for (int threads : {1, 2, 5}) {
    const auto pool = ThreadPool::Create(threads);
    for (int round = 0; round < 300; ++round) {
      const int64_t n = round % 37, grain = 1 + round % 5;
      std::vector<std::atomic<int>> counts(static_cast<size_t>(n));
      pool.value()->For(n, grain, [&](int64_t first, int64_t last, int thread) {
        if (thread < 0 || thread >= threads || last - first > grain)
          counts[static_cast<size_t>(first)] += 100;
        for (int64_t i = first; i < last; ++i) ++counts[static_cast<size_t>(i)];
      });
      for (const std::atomic<int>& count : counts) EXPECT(count.load() == 1);
    }
  }
}

// What is large begins where a huge page may begin.
TEST(BuffersAreAligned) {
  for (size_t size : {1u, 63u, 4097u, (2u << 20) - 1, 2u << 20, (5u << 20) + 1}) {
    const Result<AlignedBuffer> buffer = AlignedBuffer::Allocate(size, "a test");
    EXPECT(buffer.ok());
    const uintptr_t alignment = size < (2u << 20) ? AlignedBuffer::kAlignment : 2u << 20;
    EXPECT(reinterpret_cast<uintptr_t>(buffer.value().data()) % alignment == 0);
    buffer.value().data()[0] = buffer.value().data()[size - 1] = 1;
  }
}

// More threads than cores and jobs that are over at once, so that many workers come too late: none works on a
// job after For has returned, and none on the job that follows in its stead.
TEST(ThreadPoolLeavesNobodyInside) {
  constexpr int64_t kIndices = 6;
  const auto pool = ThreadPool::Create(6);
  std::atomic<int64_t> running{-1};
  int64_t strays = 0, missing = 0;
  for (int64_t job = 0; job < 20000; ++job) {
    std::atomic<int64_t> done{0}, wrong{0};
    running = job;
    pool.value()->For(kIndices, 1, [&, job](int64_t, int64_t, int) {
      if (job % 8 == 0) std::this_thread::yield();
      wrong += running != job;
      ++done;
    });
    running = -1;
    strays += wrong;
    missing += done != kIndices;
  }
  EXPECT(strays == 0);
  EXPECT(missing == 0);
}

// Golden values of K2 Thinking, K2.5 and a config without rope scaling.
TEST(YarnMatchesTheGoldenTable) {
  ModelSpec spec;
  spec.rope_dim = 64;
  spec.nope_dim = 128;
  spec.rope_theta = 50000;
  spec.yarn_factor = 64;
  spec.yarn_beta_fast = spec.yarn_beta_slow = 1;
  spec.yarn_mscale = spec.yarn_mscale_all_dim = 1;
  spec.yarn_original_positions = 4096;
  const RopeTable thinking = MakeRopeTable(spec);
  EXPECT_NEAR(thinking.attention_scale, 0.1446796258, 1e-10);
  EXPECT_NEAR(thinking.magnitude, 1, 1e-15);
  const auto near = [](double actual, double expected) { EXPECT_NEAR(actual / expected, 1, 1e-8); };
  near(thinking.inverse_frequencies[1], 0.713111085);
  near(thinking.inverse_frequencies[19], 1.62175991e-3);
  near(thinking.inverse_frequencies[20], 1.80702339e-5);
  near(thinking.inverse_frequencies[31], 4.38220646e-7);
  spec.yarn_beta_fast = 32;
  const RopeTable k25 = MakeRopeTable(spec);
  near(k25.inverse_frequencies[9], 4.37766560e-2);
  near(k25.inverse_frequencies[16], 1.53729673e-3);
  spec.yarn_factor = 0;
  EXPECT_NEAR(MakeRopeTable(spec).attention_scale, 0.0721687836, 1e-10);
}

TEST(SpecRefusesWhatNoModelHas) {
  const ModelSpec good = [] {
    ModelSpec s;
    s.hidden = s.kv_rank = s.nope_dim = s.value_dim = s.vocab = 8;
    s.layers = s.heads = 1;
    s.rope_dim = 4;
    s.dense_width = 16;
    return s;
  }();
  EXPECT(CheckSpec(good).ok());
  const auto refused = [&](auto change, const char* name) {
    ModelSpec bad = good;
    change(bad);
    const Status status = CheckSpec(bad);
    EXPECT(!status.ok() && status.message().find(name) != std::string::npos);
  };
  refused([](ModelSpec& s) { s.hidden = 0; }, "hiddenSize");
  refused([](ModelSpec& s) { s.heads = -1; }, "heads");
  refused([](ModelSpec& s) { s.vocab = int64_t{1} << 40; }, "vocabSize");
  refused([](ModelSpec& s) { s.rope_dim = 3; }, "ropeDim");
  refused([](ModelSpec& s) { s.norm_eps = std::nan(""); }, "normEps");
  refused([](ModelSpec& s) { s.rope_theta = 1; }, "ropeTheta");
  refused([](ModelSpec& s) { s.experts = 8; }, "expertsPerToken");
}

}  // namespace k2
