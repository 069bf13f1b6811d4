// The directory of stored pages: by itself on made-up pages, and under an engine that is started again.
#include "engine/page_store.h"

#include <sys/stat.h>

#include <chrono>
#include <random>
#include <thread>

#include "base/file.h"
#include "check.h"
#include "engine_calls.h"
#include "temporary_folder.h"

namespace k2 {
namespace {

using test::DecodeAndWait;
using test::Ids;
using test::Load;
using test::MakeTinyModel;
using test::PrefillAndWait;
using test::ReadBytes;
using test::SameBits;
using test::TemporaryFolder;
using test::TinyModel;
using test::WriteBytes;

constexpr int64_t kPage = KvCache::kPageTokens;
constexpr int64_t kPageBytes = 2048;
constexpr int64_t kFileBytes = kPageBytes + 364;

Sha256Digest Checkpoint(uint8_t number) {
  Sha256Digest digest = {};
  digest[0] = number;
  return digest;
}

std::unique_ptr<PageStore> OpenStore(const std::string& directory, int64_t cap = 1 << 30,
                                     uint8_t checkpoint = 1, const char* kernels = "avx2") {
  EXPECT(PageStore::Prepare(directory).ok());
  auto store = std::make_unique<PageStore>(directory, cap, kPageBytes);
  store->Open(Checkpoint(checkpoint), kernels);
  return store;
}

PagePath Path(size_t pages, int32_t first_id, uint64_t expanded = 0) {
  PagePath path;
  for (int64_t i = 0; i < static_cast<int64_t>(pages) * kPage; ++i)
    path.ids.push_back(first_id + static_cast<int32_t>(i));
  path.expanded.assign(pages, expanded);
  return path;
}

std::vector<KvCache::Page> Pages(const PagePath& path, size_t count) {
  std::vector<KvCache::Page> pages;
  for (size_t i = path.pages() - count; i < path.pages(); ++i) {
    auto page = std::make_shared<CachePage>(std::move(AlignedBuffer::Allocate(kPageBytes, "a page").value()));
    std::mt19937 random(static_cast<uint32_t>(path.ids[i * kPage]));
    for (size_t b = 0; b < kPageBytes; ++b) page->bytes.data()[b] = static_cast<uint8_t>(random());
    page->expanded = path.expanded[i];
    pages.push_back(page);
  }
  return pages;
}

void StoreAll(PageStore& store, const PagePath& path) {
  store.Store(path, Pages(path, path.pages()), [] { return true; });
}

// How many pages of `path` are found, all with the bytes that were stored.
size_t Found(PageStore& store, const PagePath& path, size_t first = 0) {
  const std::vector<KvCache::Page> found = store.Find(path, first);
  const std::vector<KvCache::Page> stored = Pages(path, path.pages());
  for (size_t i = 0; i < found.size(); ++i) {
    EXPECT(std::memcmp(found[i]->bytes.data(), stored[first + i]->bytes.data(), kPageBytes) == 0);
    EXPECT(found[i]->expanded == path.expanded[first + i]);
  }
  return found.size();
}

EngineOptions WithDirectory(const std::string& directory, AttentionChoice attention,
                            int64_t prefix_cache_bytes) {
  return {.device = "cpu",
          .attention = attention,
          .batch_tokens = 50,
          .prefix_cache_bytes = prefix_cache_bytes,
          .prefix_cache_directory = directory};
}

// Waits for the pages as a host does that ends in order.
void DisposeAndWait(Engine& engine) {
  std::promise<void> done;
  engine.Dispose([&](Status) { done.set_value(); });
  done.get_future().get();
}

}  // namespace

TEST(PageStoreFindsPathsFromTheBeginning) {
  const TemporaryFolder folder;
  const PagePath path = Path(4, 0);
  StoreAll(*OpenStore(folder / "a/b"), path);
  const auto store = OpenStore(folder / "a/b");
  EXPECT(Found(*store, path) == 4 && Found(*store, path, 2) == 2 && Found(*store, path, 4) == 0);
  EXPECT(Found(*store, Path(6, 0)) == 4 && Found(*store, Path(2, 0)) == 2);
  for (size_t i = 0; i < path.ids.size(); ++i) {
    PagePath other = path;
    other.ids[i] += 1;
    EXPECT(store->Find(other, 0).size() == i / kPage);
  }
  for (size_t page = 0; page < 4; ++page) {
    PagePath other = path;
    other.expanded[page] = 1;
    EXPECT(store->Find(other, 0).size() == page);
  }
  EXPECT(OpenStore(folder / "a/b", 1 << 30, 2)->Find(path, 0).empty());
  EXPECT(OpenStore(folder / "a/b", 1 << 30, 1, "avx512")->Find(path, 0).empty());
  PageStore closed(folder / "a/b", 1 << 30, kPageBytes);
  EXPECT(closed.Find(path, 0).empty());
  struct stat information = {};
  EXPECT(stat((folder / "a/b").c_str(), &information) == 0 && (information.st_mode & 0777) == 0700);
}

TEST(PageStoreTrustsNoFile) {
  const TemporaryFolder folder;
  const auto store = OpenStore(folder.path());
  const PagePath path = Path(1, 0);
  StoreAll(*store, path);
  const std::string file = folder / folder.Names()[0], sound = ReadBytes(file);
  EXPECT(static_cast<int64_t>(sound.size()) == kFileBytes);
  std::mt19937 random(1);
  const auto expect_removed = [&](const std::string& bytes) {
    WriteBytes(file, bytes);
    EXPECT(store->Find(path, 0).empty());
    EXPECT(folder.Names().empty());
  };
  for (size_t at = 0; at < sound.size(); ++at) {
    std::string bytes = sound;
    bytes[at] = static_cast<char>(bytes[at] ^ (1 << (random() % 8)));
    expect_removed(bytes);
  }
  for (size_t size = 0; size < sound.size(); size += 1 + size / 50) expect_removed(sound.substr(0, size));
  expect_removed(sound + '\0');
  // A sound page of another path under this name.
  const PagePath other = Path(1, 500);
  StoreAll(*store, other);
  const std::string foreign = ReadBytes(folder / folder.Names()[0]);
  std::filesystem::remove(folder / folder.Names()[0]);
  expect_removed(foreign);
  // What was removed is stored again.
  StoreAll(*store, path);
  EXPECT(Found(*store, path) == 1);
}

TEST(PageStoreHoldsItsCapAndRemovesTheLeastRecentlyUsed) {
  const TemporaryFolder folder;
  // Sixteen files, of which fourteen stay when room is made.
  const auto store = OpenStore(folder.path(), 16 * kFileBytes);
  WriteBytes(folder / "something else", std::string(100 * kFileBytes, 'x'));
  const auto tick = [] { std::this_thread::sleep_for(std::chrono::milliseconds(2)); };
  const PagePath used = Path(5, 0), forgotten = Path(5, 1000), latest = Path(6, 2000);
  for (const PagePath* path : {&used, &forgotten, &latest}) {
    StoreAll(*store, *path);
    tick();
    if (path == &forgotten) {
      EXPECT(Found(*store, used) == 5);
      tick();
    }
  }
  EXPECT(folder.Names().size() == 16 + 1);
  StoreAll(*store, Path(1, 3000));
  EXPECT(Found(*store, used) == 5 && Found(*store, latest) == 6 && Found(*store, Path(1, 3000)) == 1);
  // The end of a path goes before its beginning.
  EXPECT(Found(*store, forgotten) == 2);
  EXPECT(folder.Names().size() == 14 + 1);

  const PagePath large = Path(40, 5000);
  StoreAll(*store, large);
  EXPECT(Found(*store, large) == 14);
  EXPECT(ReadBytes(folder / "something else").size() == static_cast<size_t>(100 * kFileBytes));
  // A smaller cap takes effect at once, a cap below one page stores nothing.
  OpenStore(folder.path(), 4 * kFileBytes);
  EXPECT(folder.Names().size() == 3 + 1);
  StoreAll(*OpenStore(folder.path(), kFileBytes / 2), used);
  EXPECT(folder.Names() == std::vector<std::string>{"something else"});
}

TEST(PageStoreSweepsWhatKilledWritersLeft) {
  const TemporaryFolder folder;
  const PagePath path = Path(1, 0);
  StoreAll(*OpenStore(folder.path()), path);
  const std::string name = folder.Names()[0];
  WriteBytes(folder / "0.k2page.partial", "left");
  WriteBytes(folder / "notes.partial", "of somebody else");
  Result<NewFile> writer = NewFile::Create(folder / "1.k2page");
  EXPECT(writer.ok());
  OpenStore(folder.path());
  const std::vector<std::string> names = folder.Names();
  EXPECT(names.size() == 3);
  for (const std::string& kept : {std::string("1.k2page.partial"), name, std::string("notes.partial")})
    EXPECT(std::find(names.begin(), names.end(), kept) != names.end());
}

TEST(PageStoreSurvivesEveryFailedCallAndAllocation) {
  const TemporaryFolder folder;
  const PagePath path = Path(2, 0);
  for (int k = 1; k < 30; ++k) {
    std::filesystem::remove_all(folder.path());
    const auto store = OpenStore(folder.path());
    FailFileCallForTest(k);
    StoreAll(*store, path);
    FailFileCallForTest(0);
    const size_t found = Found(*store, path);
    EXPECT(found == folder.Names().size());
    StoreAll(*store, path);
    FailFileCallForTest(k);
    EXPECT(Found(*store, path) <= 2);
    FailFileCallForTest(0);
    FailAllocationForTest(k);
    EXPECT(store->Find(path, 0).size() <= 2);
    FailAllocationForTest(0);
  }
  EXPECT(PageStore::Prepare("/dev/null/x").code() == ErrorCode::kIo);
  EXPECT(PageStore::Prepare("/dev/null").code() == ErrorCode::kIo);
}

TEST(EngineStartedAgainFindsItsPages) {
  const TinyModel model = MakeTinyModel(Storage::kBf16, Storage::kInt4);
  const std::vector<int32_t> ids = Ids(model, 500, 4);
  for (const AttentionChoice attention : {AttentionChoice::kAbsorbed, AttentionChoice::kExpanded}) {
    const std::shared_ptr<Engine> plain = Load(model, {.device = "cpu", .attention = attention});
    if (plain == nullptr) return;
    const auto go_on = [](Engine& engine, const std::shared_ptr<Session>& session) {
      std::vector<float> logits(3 * static_cast<size_t>(engine.spec().vocab));
      EXPECT(PrefillAndWait(engine, session, {1, 2, 3}, logits.data()).ok());
      return logits;
    };
    const std::shared_ptr<Session> miss = plain->CreateSession().value();
    EXPECT(PrefillAndWait(*plain, miss, ids, nullptr).ok());
    const std::vector<float> expected = go_on(*plain, miss);
    for (const int64_t memory : {0, 1 << 20}) {
      const TemporaryFolder folder;
      for (int start = 0; start < 3; ++start) {
        const std::shared_ptr<Engine> engine = Load(model, WithDirectory(folder.path(), attention, memory));
        if (engine == nullptr) return;
        // Side by side, from the middle of a page on, and behind a pending token.
        std::vector<std::shared_ptr<Session>> sessions;
        std::vector<std::promise<Status>> done(3);
        for (size_t i = 0; i < 3; ++i) {
          sessions.push_back(engine->CreateSession().value());
          const size_t own = i * 35;
          EXPECT(PrefillAndWait(*engine, sessions[i], {ids.begin(), ids.begin() + static_cast<int64_t>(own)},
                                nullptr)
                     .ok());
        }
        for (size_t i = 0; i < 3; ++i) {
          EXPECT(engine
                     ->Prefill(sessions[i], {ids.begin() + static_cast<int64_t>(i * 35), ids.end()}, nullptr,
                               [&done, i](Status s) { done[i].set_value(std::move(s)); })
                     .ok());
        }
        for (size_t i = 0; i < 3; ++i) {
          EXPECT(done[i].get_future().get().ok());
          if (start > 0) EXPECT(sessions[i]->cached_tokens.load() == 448 - static_cast<int64_t>(i * 35));
          EXPECT(SameBits(go_on(*engine, sessions[i]), expected));
        }
        DisposeAndWait(*engine);
        EXPECT(folder.Names().size() == 7);
      }
    }
  }
}

TEST(EngineStartedAgainFindsWhatItDecoded) {
  const TinyModel model = MakeTinyModel(Storage::kBf16, Storage::kInt4);
  const TemporaryFolder folder;
  const EngineOptions options = WithDirectory(folder.path(), AttentionChoice::kAbsorbed, 0);
  std::vector<int32_t> tokens;
  std::vector<int32_t> further;
  {
    const std::shared_ptr<Engine> engine = Load(model, options);
    if (engine == nullptr) return;
    const std::shared_ptr<Session> session = engine->CreateSession().value();
    EXPECT(PrefillAndWait(*engine, session, Ids(model, 50, 1), nullptr).ok());
    DecodeAndWait(*engine, session, 250);
    tokens = session->tokens;
    EXPECT(PrefillAndWait(*engine, session, {5}, nullptr).ok());
    further = DecodeAndWait(*engine, session, 100);
    DisposeAndWait(*engine);
  }
  const std::shared_ptr<Engine> engine = Load(model, options);
  if (engine == nullptr) return;
  const std::shared_ptr<Session> session = engine->CreateSession().value();
  tokens.push_back(5);
  EXPECT(PrefillAndWait(*engine, session, tokens, nullptr).ok());
  EXPECT(session->cached_tokens.load() == 256);
  EXPECT(DecodeAndWait(*engine, session, 100) == further);
}

TEST(EngineStoresWhatTakesThePlaceOfAStoredPage) {
  const TinyModel model = MakeTinyModel(Storage::kBf16, Storage::kInt4);
  const TemporaryFolder folder;
  const EngineOptions options = WithDirectory(folder.path(), AttentionChoice::kAbsorbed, 0);
  const std::vector<int32_t> first = Ids(model, 130, 1), rest = Ids(model, 60, 2);
  std::vector<int32_t> second(first.begin(), first.begin() + 100);
  second.insert(second.end(), rest.begin(), rest.end());
  {
    const std::shared_ptr<Engine> engine = Load(model, options);
    if (engine == nullptr) return;
    const std::shared_ptr<Session> session = engine->CreateSession().value();
    EXPECT(PrefillAndWait(*engine, session, first, nullptr).ok());
    // Once the pages are written nobody else holds them, and the session writes into its own.
    for (int i = 0; i < 1000 && folder.Names().size() < 2; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    std::promise<void> done;
    EXPECT(engine->Rewind(session, 100, [&](Status) { done.set_value(); }).ok());
    done.get_future().get();
    EXPECT(PrefillAndWait(*engine, session, rest, nullptr).ok());
    DisposeAndWait(*engine);
    EXPECT(folder.Names().size() == 3);
  }
  for (const std::vector<int32_t>& ids : {first, second}) {
    const std::shared_ptr<Engine> engine = Load(model, options);
    if (engine == nullptr) return;
    const std::shared_ptr<Session> session = engine->CreateSession().value();
    EXPECT(PrefillAndWait(*engine, session, ids, nullptr).ok());
    EXPECT(session->cached_tokens.load() == 128);
  }
}

TEST(EngineComputesAnewWhatIsDamaged) {
  const TinyModel model = MakeTinyModel(Storage::kBf16, Storage::kInt4);
  const std::vector<int32_t> ids = Ids(model, 470, 4);
  const TemporaryFolder folder;
  const EngineOptions options = WithDirectory(folder.path(), AttentionChoice::kAbsorbed, 0);
  std::vector<int32_t> expected;
  std::mt19937 random(3);
  for (int round = 0; round < 12; ++round) {
    const std::shared_ptr<Engine> engine = Load(model, options);
    if (engine == nullptr) return;
    const std::shared_ptr<Session> session = engine->CreateSession().value();
    EXPECT(PrefillAndWait(*engine, session, ids, nullptr).ok());
    const int64_t cached = session->cached_tokens.load();
    EXPECT(round == 0 ? cached == 0 : cached < 448 && cached % kPage == 0);
    const std::vector<int32_t> decoded = DecodeAndWait(*engine, session, 10);
    if (round == 0) expected = decoded;
    EXPECT(decoded == expected);
    DisposeAndWait(*engine);
    const std::vector<std::string> names = folder.Names();
    EXPECT(names.size() == 7);
    const std::string victim = folder / names[random() % names.size()];
    std::string bytes = ReadBytes(victim);
    bytes[random() % bytes.size()] ^= 4;
    WriteBytes(victim, bytes);
  }
}

TEST(EngineAbortsAPrefillThatWaitsForPages) {
  const TinyModel model = MakeTinyModel(Storage::kBf16, Storage::kInt4);
  const std::vector<int32_t> ids = Ids(model, 1500, 4);
  const std::vector<int32_t> other_ids = Ids(model, 1500, 5);
  const TemporaryFolder folder;
  const EngineOptions options = WithDirectory(folder.path(), AttentionChoice::kAbsorbed, 0);
  std::vector<int32_t> expected, other_expected;
  {
    const std::shared_ptr<Engine> engine = Load(model, options);
    if (engine == nullptr) return;
    for (const auto& [all, decoded] : {std::pair(&ids, &expected), {&other_ids, &other_expected}}) {
      const std::shared_ptr<Session> session = engine->CreateSession().value();
      EXPECT(PrefillAndWait(*engine, session, *all, nullptr).ok());
      *decoded = DecodeAndWait(*engine, session, 5);
    }
    DisposeAndWait(*engine);
  }
  const std::shared_ptr<Engine> engine = Load(model, options);
  if (engine == nullptr) return;
  for (int round = 0; round < 60; ++round) {
    const std::shared_ptr<Session> session = engine->CreateSession().value();
    std::promise<Status> done;
    EXPECT(engine->Prefill(session, ids, nullptr, [&](Status s) { done.set_value(std::move(s)); }).ok());
    std::this_thread::sleep_for(std::chrono::microseconds(round * 20));
    round % 3 == 0 ? engine->DisposeSession(session) : engine->Abort(session);
    const ErrorCode code = done.get_future().get().code();
    EXPECT(code == ErrorCode::kOk || code == ErrorCode::kAborted || code == ErrorCode::kInvalidState);
    if (round % 3 == 0) continue;
    // The session is as it was, and works; what was looked up before is not taken for what is wanted now.
    bool is_other = false;
    if (code != ErrorCode::kOk) {
      is_other = round % 2 == 0;
      EXPECT(session->position.load() == 0);
      EXPECT(PrefillAndWait(*engine, session, is_other ? other_ids : ids, nullptr).ok());
    }
    EXPECT(is_other || session->cached_tokens.load() == 1472);
    const std::vector<int32_t> decoded = DecodeAndWait(*engine, session, 5);
    EXPECT(decoded == (is_other ? other_expected : expected));
  }
}

}  // namespace k2
