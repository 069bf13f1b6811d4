// Experts read from disk give the bits of mapped ones: with memory for a token's experts alone and for all,
// alone and beside others, after failed reads, aborts and in the middle of a dispose.
#include "model/expert_store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <random>
#include <thread>

#include "check.h"
#include "engine_calls.h"
#include "temporary_folder.h"
#include "tiny_model.h"

namespace k2 {
namespace {

using test::Ids;
using test::Load;
using test::MakeTinyModel;
using test::PrefillAndWait;
using test::SameBits;
using test::TemporaryFolder;
using test::TinyModel;

constexpr int64_t kBlock = static_cast<int64_t>(DirectFile::kBlockBytes);

Result<std::unique_ptr<ExpertStore>> MakeStore(const TinyModel& model, const Weights& weights, int64_t bytes,
                                               ExpertCounters* counters) {
  return ExpertStore::Create(model.spec, weights, bytes, counters);
}

// Memory for the experts of one token, and not for one more.
int64_t LeastMemory(const TinyModel& model) {
  const std::unique_ptr<Weights> weights =
      std::move(LoadWeights(model.spec, model.paths, model.rows, nullptr).value());
  ExpertCounters counters;
  for (int64_t bytes = kBlock;; bytes += kBlock) {
    const auto store = MakeStore(model, *weights, bytes, &counters);
    if (!store.ok()) {
      EXPECT(store.status().code() == ErrorCode::kInvalidArgument);
      EXPECT(store.status().message().find("expertMemory") != std::string::npos);
      continue;
    }
    EXPECT(store.value()->slots() == model.spec.chosen);
    return bytes;
  }
}

bool GoOn() { return true; }

std::atomic<int> reads_until_failure{0};
int FailOneRead() { return reads_until_failure.fetch_sub(1) == 1 ? EIO : 0; }

std::atomic<bool> is_held_up{false};
std::atomic<int> reads_held_up{0};
int HoldUp() {
  ++reads_held_up;
  while (is_held_up.load()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  return 0;
}

// While this lives no read ends.
struct HeldUpReads {
  HeldUpReads() {
    is_held_up.store(true);
    reads_held_up.store(0);
    SetReadHookForTest(HoldUp);
  }
  ~HeldUpReads() { End(); }
  static void AwaitOne() {
    while (reads_held_up.load() == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  static void End() {
    is_held_up.store(false);
    SetReadHookForTest(nullptr);
  }
};

TEST(DirectFileReadsWhatIsThere) {
  const TemporaryFolder folder;
  const std::string path = folder / "file";
  std::mt19937 random(1);
  std::string content(3 * DirectFile::kBlockBytes + 100, 0);
  for (char& byte : content) byte = static_cast<char>(random());
  test::WriteBytes(path, content);
  const DirectFile file = std::move(DirectFile::Open(path).value());
  const AlignedBuffer buffer =
      std::move(AlignedBuffer::Allocate(8 * DirectFile::kBlockBytes, "a test").value());
  uint8_t* const memory =
      buffer.data() + (kBlock - reinterpret_cast<uintptr_t>(buffer.data()) % DirectFile::kBlockBytes);
  for (uint64_t first = 0; first < 4; ++first) {
    for (uint64_t end = first + 1; end <= 4; ++end) {
      const uint64_t offset = first * DirectFile::kBlockBytes, size = (end - first) * DirectFile::kBlockBytes;
      const size_t least = std::min<size_t>(size, content.size() - offset);
      EXPECT(file.Read(offset, size, least, memory) == 0);
      EXPECT(std::memcmp(memory, content.data() + offset, least) == 0);
      if (end == 4) EXPECT(file.Read(offset, size, least + 1, memory) == DirectFile::kEndOfFile);
    }
  }
  EXPECT(file.Read(4 * DirectFile::kBlockBytes, DirectFile::kBlockBytes, 1, memory) ==
         DirectFile::kEndOfFile);
  EXPECT(truncate(path.c_str(), 5000) == 0);
  EXPECT(file.Read(0, 2 * DirectFile::kBlockBytes, 5000, memory) == 0);
  EXPECT(file.Read(0, 2 * DirectFile::kBlockBytes, 5001, memory) == DirectFile::kEndOfFile);
  SetReadHookForTest([] { return EINVAL; });  // as a file system does that cannot read directly
  std::memset(memory, 0, DirectFile::kBlockBytes);
  if (file.is_direct()) {
    EXPECT(file.Read(0, DirectFile::kBlockBytes, 4000, memory) == 0);
    EXPECT(!file.is_direct() && std::memcmp(memory, content.data(), 4000) == 0);
  }
  EXPECT(file.Read(0, DirectFile::kBlockBytes, 4000, memory) == EINVAL);
  SetReadHookForTest(nullptr);
  EXPECT(file.Read(DirectFile::kBlockBytes, DirectFile::kBlockBytes, 1000, memory) == DirectFile::kEndOfFile);
  EXPECT(DirectFile::Open(folder / "nothing").status().code() == ErrorCode::kIo);
  EXPECT(DirectFile::Open(folder.path()).status().code() == ErrorCode::kIo);
  EXPECT(mkfifo((folder / "pipe").c_str(), 0600) == 0);
  EXPECT(DirectFile::Open(folder / "pipe").status().code() == ErrorCode::kIo);
}

// Matrices and scales near each other and far apart, at odd places, and in several files.
TEST(ExpertLayoutHoldsEveryPart) {
  const TemporaryFolder folder;
  constexpr int64_t kFileBytes = 600'000, kRows = 24, kColumns = 96;
  std::mt19937 random(2);
  Weights weights;
  for (const char* name : {"a", "b"}) {
    std::string content(kFileBytes, 0);
    for (char& byte : content) byte = static_cast<char>(random());
    test::WriteBytes(folder / name, content);
    weights.files.push_back(std::move(MappedFile::Open(folder / name).value()));
  }
  for (int round = 0; round < 200; ++round) {
    std::vector<Weight> matrices(3);
    for (Weight& w : matrices) {
      w.storage = Storage::kInt4;
      w.scale_storage = Storage::kBf16;
      w.block_rows = 1;
      w.block_columns = 32;
      w.rows = kRows;
      w.columns = kColumns;
      w.file = static_cast<int32_t>(random() % 2);
      const auto place = [&](size_t file, int64_t bytes) {
        // Some at the very end of the file.
        const int64_t last = kFileBytes - bytes;
        return weights.files[file].data() +
               (random() % 4 == 0 ? last : static_cast<int64_t>(random()) % last);
      };
      w.data = place(static_cast<size_t>(w.file), w.rows * w.row_bytes());
      w.scales = place(random() % 2, w.scale_bytes());
    }
    const ExpertLayout layout = LayOutExpert(weights, matrices);
    std::vector<uint8_t> slot;
    for (const Extent& extent : layout.extents) {
      EXPECT(extent.offset % DirectFile::kBlockBytes == 0 && extent.bytes % DirectFile::kBlockBytes == 0);
      EXPECT(extent.least <= extent.bytes && extent.least + DirectFile::kBlockBytes > extent.bytes);
      EXPECT(extent.offset + extent.least <= static_cast<uint64_t>(kFileBytes));
      const uint8_t* const bytes = weights.files[static_cast<size_t>(extent.file)].data() + extent.offset;
      slot.insert(slot.end(), bytes, bytes + extent.least);
      slot.resize(slot.size() + extent.bytes - extent.least);
    }
    EXPECT(slot.size() == layout.bytes);
    for (size_t i = 0; i < 3; ++i) {
      const Weight& w = matrices[i];
      EXPECT(std::memcmp(slot.data() + layout.places[i].data, w.data,
                         static_cast<size_t>(w.rows * w.row_bytes())) == 0);
      EXPECT(std::memcmp(slot.data() + layout.places[i].scales, w.scales,
                         static_cast<size_t>(w.scale_bytes())) == 0);
    }
  }
}

// Any visits, with guesses between them, whatever memory there is: every round holds the numbers of the file,
// and the rounds of a visit are what it asked for, in ascending order.
TEST(ExpertStoreHoldsTheNumbersOfTheFile) {
  std::mt19937 random(3);
  for (const Storage storage : {Storage::kInt4, Storage::kF8E4m3, Storage::kBf16}) {
    const TinyModel model = MakeTinyModel(Storage::kBf16, storage);
    const std::unique_ptr<Weights> weights =
        std::move(LoadWeights(model.spec, model.paths, model.rows, nullptr).value());
    const int64_t least = LeastMemory(model);
    for (const int64_t bytes : {least, 3 * least, 100 * least}) {
      ExpertCounters counters;
      const size_t before = AllocatedBytes();
      const std::unique_ptr<ExpertStore> store =
          std::move(MakeStore(model, *weights, bytes, &counters).value());
      EXPECT(AllocatedBytes() - before <= static_cast<size_t>(bytes));
      EXPECT(store->slots() <= 2 * model.spec.experts);
      int64_t uses = 0;
      for (int visit = 0; visit < 120; ++visit) {
        const int64_t layer = 1 + visit % 2;
        std::vector<int32_t> ids;
        for (size_t i = 0, n = 1 + random() % 9; i < n; ++i)
          ids.push_back(static_cast<int32_t>(random() % static_cast<uint32_t>(model.spec.experts)));
        store->Begin(layer, ids, static_cast<int64_t>(random() % 4));
        const std::vector<int32_t> guess = {static_cast<int32_t>(random() % 6),
                                            static_cast<int32_t>(random() % 6)};
        if (store->MayGuess(3 - layer)) store->Guess(3 - layer, guess);
        std::sort(ids.begin(), ids.end());
        ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
        size_t done = 0;
        for (;;) {
          const Result<ExpertStore::Round> result = store->Next(GoOn);
          EXPECT(result.ok());
          if (!result.ok()) return;
          const ExpertStore::Round round = result.value();
          if (round.empty()) break;
          EXPECT(done < ids.size() && round.first == ids[done]);
          for (; done < ids.size() && ids[done] < round.end; ++done) {
            const Expert& got = store->experts(layer)[static_cast<size_t>(ids[done])];
            const Expert& want =
                weights->layers[static_cast<size_t>(layer)].experts[static_cast<size_t>(ids[done])];
            for (const auto& [g, w] :
                 {std::pair{got.gate, want.gate}, {got.up, want.up}, {got.down, want.down}}) {
              EXPECT(std::memcmp(g->data, w->data, static_cast<size_t>(w->rows * w->row_bytes())) == 0);
              if (w->scales != nullptr)
                EXPECT(std::memcmp(g->scales, w->scales, static_cast<size_t>(w->scale_bytes())) == 0);
            }
          }
        }
        EXPECT(done == ids.size());
        uses += static_cast<int64_t>(ids.size());
      }
      EXPECT(counters.hits + counters.misses == uses);
      EXPECT(counters.used_guesses + counters.wasted_guesses <= counters.guesses);
      if (bytes == 100 * least) EXPECT(counters.misses <= 2 * model.spec.experts);
    }
  }
}

struct Answers {
  std::vector<float> logits;
  std::vector<std::vector<int32_t>> decoded;
  bool operator==(const Answers& other) const {
    return SameBits(logits, other.logits) && decoded == other.decoded;
  }
};

// A long evaluation, whose layers use all experts, and then two sessions that decode at the same time.
Answers AnswersOf(const TinyModel& model, const EngineOptions& options, int64_t* misses = nullptr) {
  Answers answers;
  const std::shared_ptr<Engine> engine = Load(model, options);
  if (engine == nullptr) return answers;
  const std::vector<int32_t> ids = Ids(model, 150, 3);
  answers.logits.resize(ids.size() * static_cast<size_t>(model.spec.vocab));
  const std::shared_ptr<Session> first = engine->CreateSession().value();
  const std::shared_ptr<Session> second = engine->CreateSession().value();
  EXPECT(PrefillAndWait(*engine, first, ids, answers.logits.data()).ok());
  EXPECT(PrefillAndWait(*engine, second, Ids(model, 7, 4), nullptr).ok());
  answers.decoded.resize(2);
  std::thread other([&] { answers.decoded[1] = test::DecodeAndWait(*engine, second, 30); });
  answers.decoded[0] = test::DecodeAndWait(*engine, first, 30);
  other.join();
  if (misses != nullptr) *misses = engine->expert_counters().misses.load();
  return answers;
}

TEST(StreamedExpertsGiveTheBitsOfMappedOnes) {
  for (const Storage storage : {Storage::kInt4, Storage::kBf16}) {
    const TinyModel model = MakeTinyModel(Storage::kBf16, storage);
    const int64_t least = LeastMemory(model);
    for (const char* device : {"cpu", "reference"}) {
      const Answers mapped = AnswersOf(model, {.device = device, .threads = 1});
      for (const int64_t memory : {least, 3 * least, 100 * least}) {
        for (const int threads : {1, 3}) {
          for (const int64_t batch : {4, 512}) {
            int64_t misses = 0;
            const Answers streamed = AnswersOf(
                model,
                {.device = device, .threads = threads, .batch_tokens = batch, .expert_memory_bytes = memory},
                &misses);
            EXPECT(streamed == mapped);
            EXPECT(misses > 0);
          }
        }
      }
    }
  }
}

// Every single read fails once: the call says which expert and file, and the next one has the same bits.
TEST(StreamedExpertsSurviveEveryFailedRead) {
  const TinyModel model = MakeTinyModel(Storage::kBf16, Storage::kInt4);
  const int64_t least = LeastMemory(model);
  const std::vector<int32_t> ids = Ids(model, 12, 3);
  std::vector<float> expected(ids.size() * static_cast<size_t>(model.spec.vocab)), got = expected;
  const std::shared_ptr<Engine> mapped = Load(model, {.device = "cpu"});
  EXPECT(PrefillAndWait(*mapped, mapped->CreateSession().value(), ids, expected.data()).ok());
  const std::shared_ptr<Engine> engine = Load(model, {.device = "cpu", .expert_memory_bytes = least});
  if (engine == nullptr) return;
  SetReadHookForTest(FailOneRead);
  int failures = 0;
  for (int read = 1; read <= 14; ++read) {
    const std::shared_ptr<Session> session = engine->CreateSession().value();
    reads_until_failure.store(read);
    const Status status = PrefillAndWait(*engine, session, ids, got.data());
    reads_until_failure.store(0);
    if (!status.ok()) {
      ++failures;
      EXPECT(status.code() == ErrorCode::kIo);
      EXPECT(status.message().find(model.paths[0]) != std::string::npos);
      EXPECT(status.message().find("expert ") != std::string::npos);
      EXPECT(session->position.load() == 0);
      EXPECT(PrefillAndWait(*engine, session, ids, got.data()).ok());
    }
    EXPECT(SameBits(expected, got));
    engine->DisposeSession(session);
  }
  SetReadHookForTest(nullptr);
  EXPECT(failures > 5);
}

// The end of the file, which holds the last expert of the last layer, is cut off under the engine.
TEST(StreamedExpertsOfAFileThatShrinks) {
  const TinyModel model = MakeTinyModel(Storage::kBf16, Storage::kBf16);
  const std::string content = test::ReadBytes(model.paths[0]);
  const std::vector<int32_t> ids = Ids(model, 40, 3);
  std::vector<float> expected(ids.size() * static_cast<size_t>(model.spec.vocab)), got = expected;
  const std::shared_ptr<Engine> engine =
      Load(model, {.device = "cpu", .expert_memory_bytes = LeastMemory(model)});
  if (engine == nullptr) return;
  const std::shared_ptr<Session> session = engine->CreateSession().value();
  EXPECT(PrefillAndWait(*engine, session, ids, expected.data()).ok());
  EXPECT(truncate(model.paths[0].c_str(), static_cast<off_t>(content.size()) - 2048) == 0);
  const std::shared_ptr<Session> failing = engine->CreateSession().value();
  const Status status = PrefillAndWait(*engine, failing, ids, got.data());
  EXPECT(status.code() == ErrorCode::kIo);
  EXPECT(status.message().find("expert 5 of layer 2 from " + model.paths[0]) != std::string::npos);
  EXPECT(status.message().find("its end") != std::string::npos);
  const int file = open(model.paths[0].c_str(), O_WRONLY);
  EXPECT(pwrite(file, content.data(), content.size(), 0) == static_cast<ssize_t>(content.size()));
  close(file);
  EXPECT(PrefillAndWait(*engine, failing, ids, got.data()).ok());
  EXPECT(SameBits(expected, got));
}

TEST(StreamedExpertsAreAbortedWhileADiskIsStuck) {
  const TinyModel model = MakeTinyModel(Storage::kBf16, Storage::kInt4);
  const std::vector<int32_t> ids = Ids(model, 12, 3);
  std::vector<float> expected(ids.size() * static_cast<size_t>(model.spec.vocab)), got = expected;
  const std::shared_ptr<Engine> engine =
      Load(model, {.device = "cpu", .expert_memory_bytes = 2 * LeastMemory(model)});
  if (engine == nullptr) return;
  const std::shared_ptr<Session> session = engine->CreateSession().value();
  EXPECT(PrefillAndWait(*engine, session, ids, expected.data()).ok());
  for (int round = 0; round < 5; ++round) {
    const std::shared_ptr<Session> aborted = engine->CreateSession().value();
    HeldUpReads held_up;
    std::promise<Status> done;
    EXPECT(engine->Prefill(aborted, ids, got.data(), [&](Status s) { done.set_value(std::move(s)); }).ok());
    HeldUpReads::AwaitOne();
    engine->Abort(aborted);
    EXPECT(done.get_future().get().code() == ErrorCode::kAborted);  // with the disk still stuck
    HeldUpReads::End();
    EXPECT(PrefillAndWait(*engine, aborted, ids, got.data()).ok());
    EXPECT(SameBits(expected, got));
  }
}

TEST(StreamedExpertsAreDisposedWhileReading) {
  const TinyModel model = MakeTinyModel(Storage::kBf16, Storage::kInt4);
  const int64_t memory = 2 * LeastMemory(model);
  for (int round = 0; round < 5; ++round) {
    const size_t before = AllocatedBytes();
    std::shared_ptr<Engine> engine = Load(model, {.device = "cpu", .expert_memory_bytes = memory});
    if (engine == nullptr) return;
    EXPECT(AllocatedBytes() > before);
    std::shared_ptr<Session> session = engine->CreateSession().value();
    HeldUpReads held_up;
    std::promise<Status> done;
    std::promise<void> disposed;
    EXPECT(
        engine->Prefill(session, Ids(model, 12, 3), nullptr, [&](Status s) { done.set_value(std::move(s)); })
            .ok());
    HeldUpReads::AwaitOne();
    engine->Dispose([&](Status) { disposed.set_value(); });
    EXPECT(done.get_future().get().code() == ErrorCode::kInvalidState);
    HeldUpReads::End();
    disposed.get_future().get();
    session.reset();
    engine.reset();
    EXPECT(AllocatedBytes() == before);
  }
}

TEST(StreamedExpertsWithoutMemoryOrExperts) {
  TinyModel model = MakeTinyModel(Storage::kBf16, Storage::kInt4);
  const auto load = [&](int64_t memory) {
    const std::shared_ptr<Engine> engine =
        Engine::Create(model.spec, {.expert_memory_bytes = memory}, model.paths, model.rows).value();
    std::promise<Status> loaded;
    EXPECT(engine->Load(nullptr, [&](Status s) { loaded.set_value(std::move(s)); }).ok());
    return loaded.get_future().get();
  };
  const int64_t least = LeastMemory(model);
  const size_t before = AllocatedBytes();
  EXPECT(load(1).code() == ErrorCode::kInvalidArgument);
  EXPECT(load(least - 1).code() == ErrorCode::kInvalidArgument);
  FailAllocationForTest(1);
  EXPECT(load(least).code() == ErrorCode::kOutOfMemory);
  FailAllocationForTest(0);
  EXPECT(!Engine::Create(model.spec, {.expert_memory_bytes = -1}, model.paths, model.rows).ok());
  model.spec.first_dense_layers = model.spec.layers;
  const std::unique_ptr<Weights> nothing = std::make_unique<Weights>();
  ExpertCounters counters;
  EXPECT(MakeStore(model, *nothing, 1 << 20, &counters).status().code() == ErrorCode::kInvalidArgument);
  EXPECT(AllocatedBytes() == before);
}

}  // namespace
}  // namespace k2
