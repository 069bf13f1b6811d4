// The prefix cache by itself, on caches whose bytes are made up; what an engine makes of it is in
// engine_test.cc.
#include "engine/prefix_cache.h"

#include <random>

#include "check.h"

namespace k2 {
namespace {

constexpr int64_t kPage = KvCache::kPageTokens;
constexpr auto kAbsorbed = AttentionForm::kAbsorbed;
constexpr auto kExpanded = AttentionForm::kExpanded;

// A cache of `ids`, all rows made by `form`; the first byte of a page says whose it is.
KvCache Filled(const std::vector<int32_t>& ids, AttentionForm form, uint8_t mark = 0) {
  KvCache cache(2, 16);
  const int64_t count = static_cast<int64_t>(ids.size());
  EXPECT(cache.Reserve(count).ok());
  cache.Commit(count, form);
  for (const KvCache::Page& page : cache.pages()) page->bytes.data()[0] = mark;
  return cache;
}

std::vector<int32_t> Ids(int64_t count, int32_t first) {
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < count; ++i) ids.push_back(first + static_cast<int32_t>(i));
  return ids;
}

// How many of `ids` an empty session finds.
int64_t Found(PrefixCache& prefixes, const std::vector<int32_t>& ids, AttentionForm form) {
  KvCache cache(2, 16);
  return prefixes.Extend(cache, {}, ids, form);
}

std::span<const int32_t> First(const std::vector<int32_t>& ids, int64_t count) {
  return std::span(ids).first(static_cast<size_t>(count));
}
std::span<const int32_t> Behind(const std::vector<int32_t>& ids, int64_t count) {
  return std::span(ids).subspan(static_cast<size_t>(count));
}

}  // namespace

TEST(PrefixCacheFindsWholePagesAndLeavesTheLastToken) {
  PrefixCache prefixes(1 << 20);
  const std::vector<int32_t> ids = Ids(3 * kPage, 0);
  KvCache cache = Filled(ids, kAbsorbed);
  prefixes.Insert(cache, ids);
  for (int64_t count = 0; count <= 3 * kPage; ++count) {
    const std::vector<int32_t> call(ids.begin(), ids.begin() + count);
    EXPECT(Found(prefixes, call, kAbsorbed) == (count == 0 ? 0 : (count - 1) / kPage * kPage));
  }
  std::vector<int32_t> longer = Ids(5 * kPage, 0);
  EXPECT(Found(prefixes, longer, kAbsorbed) == 3 * kPage);
}

TEST(PrefixCacheComparesEveryIdAndEveryForm) {
  PrefixCache prefixes(1 << 20);
  const std::vector<int32_t> ids = Ids(2 * kPage + 1, 0);
  KvCache cache = Filled(ids, kExpanded);
  prefixes.Insert(cache, ids);
  EXPECT(Found(prefixes, ids, kExpanded) == 2 * kPage);
  EXPECT(Found(prefixes, ids, kAbsorbed) == 0);
  for (int64_t changed = 0; changed < 2 * kPage; ++changed) {
    std::vector<int32_t> other = ids;
    other[static_cast<size_t>(changed)] += 1;
    EXPECT(Found(prefixes, other, kExpanded) == changed / kPage * kPage);
  }
  // The second page alone is no prefix.
  EXPECT(Found(prefixes, {ids.begin() + kPage, ids.end()}, kExpanded) == 0);
}

TEST(PrefixCacheGoesOnFromWhatASessionHas) {
  PrefixCache prefixes(1 << 20);
  const std::vector<int32_t> ids = Ids(3 * kPage, 0);
  KvCache whole = Filled(ids, kAbsorbed, 1);
  prefixes.Insert(whole, ids);
  for (const int64_t own : {int64_t{1}, kPage - 1, kPage, kPage + 1, 2 * kPage - 1}) {
    const std::vector<int32_t> mine(ids.begin(), ids.begin() + own);
    KvCache cache = Filled(mine, kAbsorbed, 2);
    EXPECT(prefixes.Extend(cache, First(ids, own), Behind(ids, own), kAbsorbed) == 2 * kPage - own);
    EXPECT(cache.length() == 2 * kPage && cache.pages()[0] == whole.pages()[0]);
    // Rows of another form, or followed by rows of another form, are other rows.
    KvCache other = Filled(mine, kExpanded, 2);
    EXPECT(prefixes.Extend(other, First(ids, own), Behind(ids, own), kAbsorbed) == 0);
    EXPECT(other.length() == own && other.pages()[0]->bytes.data()[0] == 2);
    KvCache third = Filled(mine, kAbsorbed, 2);
    EXPECT(prefixes.Extend(third, First(ids, own), Behind(ids, own), kExpanded) == 0);
  }
}

TEST(PrefixCacheNeverWritesToWhatIsShared) {
  PrefixCache prefixes(1 << 20);
  const std::vector<int32_t> ids = Ids(2 * kPage, 0);
  KvCache cache = Filled(ids, kAbsorbed, 7);
  prefixes.Insert(cache, ids);
  cache.Truncate(kPage / 2);
  EXPECT(cache.Reserve(1).ok());
  cache.pages()[0]->bytes.data()[0] = 9;
  cache.Commit(1, kExpanded);
  KvCache found(2, 16);
  EXPECT(prefixes.Extend(found, {}, ids, kAbsorbed) == kPage);
  EXPECT(found.pages()[0]->bytes.data()[0] == 7 && found.pages()[0]->expanded == 0);
}

TEST(PrefixCacheHoldsItsCapAndEvictsTheLeastRecentlyUsed) {
  const size_t before = AllocatedBytes();
  {
    PrefixCache measure(1 << 20);
    const std::vector<int32_t> one = Ids(kPage + 1, 0);
    KvCache cache = Filled(one, kAbsorbed);
    measure.Insert(cache, one);
    const int64_t page = measure.bytes();
    EXPECT(page >= 2 * 16 * kPage);

    PrefixCache prefixes(3 * page);
    const auto add = [&](int32_t first) {
      const std::vector<int32_t> ids = Ids(kPage + 1, first);
      KvCache made = Filled(ids, kAbsorbed);
      prefixes.Insert(made, ids);
    };
    const auto has = [&](int32_t first) {
      return Found(prefixes, Ids(kPage + 1, first), kAbsorbed) == kPage;
    };
    add(1000), add(2000), add(3000);
    EXPECT(has(1000));  // and is now used more recently than 2000
    add(4000);
    EXPECT(prefixes.bytes() == 3 * page);
    EXPECT(!has(2000) && has(3000) && has(4000) && has(1000));

    // Of a path that does not fit, the beginning stays.
    const std::vector<int32_t> path = Ids(5 * kPage, 9000);
    KvCache kept = Filled(path, kAbsorbed);
    prefixes.Insert(kept, path);
    EXPECT(prefixes.bytes() == 3 * page);
    EXPECT(Found(prefixes, path, kAbsorbed) == 3 * kPage);
    EXPECT(kept.length() == 5 * kPage);

    PrefixCache off(0);
    off.Insert(kept, path);
    EXPECT(off.bytes() == 0 && Found(off, path, kAbsorbed) == 0);
  }
  EXPECT(AllocatedBytes() == before);
}

TEST(PrefixCacheAgainstPlainSearch) {
  // Random timelines over two tokens' worth of pages, so that prefixes meet all the time.
  std::mt19937 random(5);
  PrefixCache prefixes(1 << 26);
  std::vector<std::vector<int32_t>> stored;
  const auto timeline = [&] {
    std::vector<int32_t> ids;
    for (uint32_t page = 0, pages = random() % 6; page < pages; ++page) {
      const int32_t value = static_cast<int32_t>(random() % 2);
      for (int64_t i = 0; i < kPage; ++i) ids.push_back(value);
    }
    for (uint32_t i = 0, rest = random() % 64; i < rest; ++i) ids.push_back(3);
    return ids;
  };
  for (int round = 0; round < 400; ++round) {
    const std::vector<int32_t> ids = timeline();
    size_t best = 0;
    for (const std::vector<int32_t>& other : stored) {
      const auto [a, b] = std::mismatch(ids.begin(), ids.end(), other.begin(), other.end());
      best = std::max(best, static_cast<size_t>(a - ids.begin()) / 64 * 64);
    }
    const size_t most = ids.empty() ? 0 : (ids.size() - 1) / 64 * 64;
    EXPECT(Found(prefixes, ids, kAbsorbed) == static_cast<int64_t>(std::min(best, most)));
    if (random() % 3 != 0) continue;
    KvCache cache = Filled(ids, kAbsorbed);
    prefixes.Insert(cache, ids);
    stored.push_back(ids);
  }
}

}  // namespace k2
