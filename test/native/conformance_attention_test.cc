// Latent attention of every backend in both forms: against the reference within what rounding to 16 bits
// explains, and the same bits for every cut, neighbour, thread count and order of appending.
#include <algorithm>
#include <cmath>
#include <limits>

#include "check.h"
#include "conformance_attention.h"

namespace k2::test {
namespace {

const char* FormName(AttentionForm form) {
  return form == AttentionForm::kAbsorbed ? "absorbed" : "expanded";
}

void ConformAttention(const AttentionCase& c, const std::string& name) {
  const std::vector<double> bounds = AttentionBounds(c);
  const int64_t columns = c.shape.heads * c.shape.value;
  Conform({.name = name,
           .shapes = c.shapes(),
           .rows = c.rows,
           .columns = columns,
           .run =
               [&](Backend& b, int64_t first, int64_t count, Tensor y) {
                 Caches caches(c, b);
                 caches.AppendAll();
                 caches.Attend(first, count, y);
               },
           .tolerance = [&](int64_t t, int64_t n) { return bounds[static_cast<size_t>(t * columns + n)]; },
           .cache_type = c.cache_type});
}

constexpr AttentionShape kShapes[] = {
    {5, 24, 16, 40, 96, 64}, {1, 1, 2, 1, 1, 1},         {2, 32, 8, 32, 33, 7}, {3, 7, 6, 9, 31, 16},
    {8, 16, 16, 16, 64, 64}, {9, 128, 64, 128, 160, 64}, {16, 8, 8, 8, 32, 32}, {4, 20, 10, 50, 30, 3},
};

TEST(conformance_attention_shapes) {
  Draws draws(30);
  for (const AttentionShape& shape : kShapes) {
    for (const AttentionForm form : {AttentionForm::kAbsorbed, AttentionForm::kExpanded}) {
      const AttentionCase c(shape, {{draws.Between(0, 40), draws.Between(1, 20), form}}, {Storage::kBf16},
                            0.5, draws);
      ConformAttention(c, std::string("attention ") + FormName(form) + " R=" + std::to_string(shape.rank));
    }
  }
}

TEST(conformance_attention_weight_forms) {
  Draws draws(31);
  for (int64_t rank : {64, 100}) {
    for (const Coding& coding : Codings(rank)) {
      for (const AttentionForm form : {AttentionForm::kAbsorbed, AttentionForm::kExpanded}) {
        const AttentionCase c({3, 10, 8, 12, rank, 64}, {{3, 9, form}}, coding, 0.02, draws);
        ConformAttention(c, std::string("attention ") + FormName(form) + " " + StorageName(coding.storage) +
                                " R=" + std::to_string(rank));
      }
    }
  }
}

// Past the first, second and third block of positions and further splits, ending at and beside their borders.
TEST(conformance_attention_long) {
  Draws draws(32);
  for (const AttentionForm form : {AttentionForm::kAbsorbed, AttentionForm::kExpanded}) {
    for (const int64_t past : {250, 254, 255, 256, 505, 760, 1018, 1535}) {
      const AttentionCase c({3, 16, 8, 16, 32, 64}, {{past, 9, form}}, {Storage::kBf16}, 2.0, draws);
      ConformAttention(c, std::string("attention ") + FormName(form) + " after " + std::to_string(past));
    }
    const AttentionCase c({2, 16, 8, 16, 32, 64}, {{0, 300, form}}, {Storage::kBf16}, 0.5, draws);
    ConformAttention(c, std::string("attention ") + FormName(form) + " of 300 rows");
  }
}

// More splits than a wave of few threads holds, in sessions of uneven lengths.
void ConformThreads(CacheType cache_type) {
  Draws draws(39);
  const AttentionForm form = AttentionForm::kAbsorbed;
  AttentionCase c({9, 16, 8, 16, 32, 64},
                  {{9000, 8, form}, {30, 1, form}, {2000, 3, form}, {511, 1, form}, {700, 40, form}},
                  {Storage::kBf16}, 2.0, draws);
  c.cache_type = cache_type;
  std::vector<Matrix> results;
  for (const int threads : {1, 2, 3, 17}) {
    size_t i = 0;
    for (const Subject& s : MakeSubjects(c.shapes(), threads, c.cache_type)) {
      if (s.name == "emulated metal") continue;  // has no threads to share work with, and takes its time
      Matrix y(c.rows, 9 * 16, 0);
      Caches caches(c, *s.backend);
      caches.AppendAll();
      caches.Attend(0, c.rows, y.tensor());
      if (threads == 1) results.push_back(y);
      if (!SameBits(results[i++], y))
        Fail(__FILE__, __LINE__, s.name + " has other bits with " + std::to_string(threads) + " threads");
    }
  }
}

TEST(conformance_attention_any_number_of_threads) {
  for (const CacheType type : {CacheType::kBf16, CacheType::kInt8}) ConformThreads(type);
}

// One score far above all others: the running maximum must move without overflow, and shares of the rest
// vanish.
TEST(conformance_attention_sharp) {
  Draws draws(33);
  for (const AttentionForm form : {AttentionForm::kAbsorbed, AttentionForm::kExpanded}) {
    AttentionCase c({4, 16, 8, 16, 32, 64}, {{270, 30, form}}, {Storage::kBf16}, 1.0, draws);
    for (int64_t s = 0; s < c.rope_key.rows; ++s) {
      for (int64_t d = 0; d < 8; ++d) c.rope_key.data[static_cast<size_t>(s * 8 + d)] *= s % 37 == 0 ? 64 : 1;
    }
    ConformAttention(c, std::string("attention ") + FormName(form) + " with peaks");
  }
}

// Bounds without the rounding of scores: an error of one percent in any part of a score is far outside.
TEST(conformance_attention_whole_numbers) {
  Draws draws(38);
  for (const AttentionForm form : {AttentionForm::kAbsorbed, AttentionForm::kExpanded}) {
    for (const int64_t rank : {32, 45}) {
      AttentionCase c({5, 16, 8, 16, rank, 64}, {{270, 20, form}}, {Storage::kBf16}, 1.0, draws);
      c.MakeWhole(draws);
      ConformAttention(c, std::string("attention ") + FormName(form) + " of whole numbers");
    }
  }
}

TEST(conformance_attention_sessions) {
  Draws draws(34);
  for (int round = 0; round < 6; ++round) {
    std::vector<Timeline> timelines;
    for (int64_t i = draws.Between(2, 6); i > 0; --i) {
      timelines.push_back({draws.Between(0, 300), draws.Next() < 0.5 ? 1 : draws.Between(1, 20),
                           draws.Next() < 0.6 ? AttentionForm::kAbsorbed : AttentionForm::kExpanded});
    }
    const AttentionCase c({5, 24, 16, 40, 48, 64}, timelines, {Storage::kBf16}, 0.5, draws);
    ConformAttention(c, "attention of several sessions");
  }
}

// A prefill that appends and attends chunk by chunk sees the same cache as one that appends everything first.
void ConformChunks(CacheType cache_type) {
  Draws draws(35);
  for (const AttentionForm form : {AttentionForm::kAbsorbed, AttentionForm::kExpanded}) {
    AttentionCase c({3, 16, 8, 16, 32, 16}, {{0, 280, form}}, {Storage::kBf16}, 0.5, draws);
    c.cache_type = cache_type;
    for (const Subject& s : MakeSubjects(c.shapes(), 2, cache_type)) {
      Matrix whole(c.rows, 48, 0), chunked(c.rows, 48, 0);
      Caches first(c, *s.backend), second(c, *s.backend);
      first.AppendAll();
      first.Attend(0, c.rows, whole.tensor());
      for (int64_t at = 0, count; at < c.rows; at += count) {
        count = std::min(draws.Between(1, 50), c.rows - at);
        second.Append(0, at, count);
        second.Attend(at, count, chunked.tensor());
      }
      if (!SameBits(whole, chunked))
        Fail(__FILE__, __LINE__, s.name + " " + FormName(form) + " has other bits");
    }
  }
}

TEST(conformance_attention_chunked_prefill) {
  for (const CacheType type : {CacheType::kBf16, CacheType::kInt8}) ConformChunks(type);
}

// In the absorbed form a row's numbers are those of a decoded token, whatever comes behind it.
TEST(conformance_attention_nan_stays_behind) {
  Draws draws(37);
  AttentionCase c({3, 16, 8, 16, 32, 16}, {{3, 11, AttentionForm::kAbsorbed}}, {Storage::kBf16}, 0.5, draws);
  std::vector<Subject> subjects = MakeSubjects(c.shapes(), 1);
  for (Subject& s : MakeSubjects(c.shapes(), 1, CacheType::kInt8)) subjects.push_back(std::move(s));
  for (const Subject& s : subjects) {
    Matrix healthy(c.rows, 3 * 16, 0), sick(c.rows, 3 * 16, 0);
    for (Matrix* y : {&healthy, &sick}) {
      float& number = c.latent.data[static_cast<size_t>((3 + 6) * 32)];
      const float kept = number;
      if (y == &sick) number = std::numeric_limits<float>::quiet_NaN();
      Caches caches(c, *s.backend);
      caches.AppendAll();
      caches.Attend(0, c.rows, y->tensor());
      number = kept;
    }
    EXPECT(SameBits(healthy.Rows(0, 6), sick.Rows(0, 6)));
    for (float x : sick.Rows(6, c.rows - 6).data) EXPECT(std::isnan(x));
  }
}

// The session behind the sick one ends where the other's NaN stands, so that remains of a block would be
// seen.
TEST(conformance_attention_nan_stays_in_its_session) {
  Draws draws(36);
  for (const AttentionForm form : {AttentionForm::kAbsorbed, AttentionForm::kExpanded}) {
    AttentionCase c({9, 16, 8, 16, 32, 16}, {{30, 3, form}, {40, 9, form}, {4, 1, form}}, {Storage::kBf16},
                    0.5, draws);
    AttentionCase sick = AttentionCase({9, 16, 8, 16, 32, 16}, c.timelines, {Storage::kBf16}, 0.5, draws);
    sick.q = c.q;
    sick.latent = c.latent;
    sick.rope_key = c.rope_key;
    sick.latent.data[static_cast<size_t>((c.first_tokens[1] + 5) * 32)] =
        std::numeric_limits<float>::quiet_NaN();
    for (const Subject& s : MakeSubjects(c.shapes(), 1)) {
      Matrix y(c.rows, 9 * 16, 0);
      Caches caches(sick, *s.backend);
      caches.AppendAll();
      caches.Attend(0, c.rows, y.tensor());
      for (int64_t t = 0; t < c.rows; ++t) {
        const bool its_own = t >= c.first_rows[1] && t < c.first_rows[2];
        for (int64_t n = 0; n < y.columns; ++n) EXPECT(std::isnan(y.at(t, n)) == its_own);
      }
    }
  }
}

// Latents of 8 bits: kernels and reference read the same numbers, whatever remains of a group of columns.
TEST(conformance_attention_int8) {
  Draws draws(60);
  for (const AttentionForm form : {AttentionForm::kAbsorbed, AttentionForm::kExpanded}) {
    for (const AttentionShape& shape : kShapes) {
      AttentionCase c(shape, {{draws.Between(0, 40), draws.Between(1, 20), form}}, {Storage::kBf16}, 0.5,
                      draws);
      c.cache_type = CacheType::kInt8;
      ConformAttention(c,
                       std::string("int8 attention ") + FormName(form) + " R=" + std::to_string(shape.rank));
    }
    for (const int64_t rank : {32, 128, 131, 300}) {
      AttentionCase c({3, 16, 8, 16, rank, 64}, {{510, 9, form}, {700, 3, form}, {20, 1, form}},
                      {Storage::kBf16}, 0.5, draws);
      c.cache_type = CacheType::kInt8;
      ConformAttention(
          c, std::string("int8 attention ") + FormName(form) + " after 700, R=" + std::to_string(rank));
    }
  }
}

// A session of one position shows its latent: its share is 1, and W_UV the unit matrix.
TEST(conformance_attention_int8_rounds_by_half_a_step) {
  constexpr int64_t kRank = 300;
  Draws draws(61);
  AttentionCase c({1, 8, 8, kRank, kRank, 16}, std::vector<Timeline>(40, {0, 1, AttentionForm::kAbsorbed}),
                  {Storage::kBf16}, 1.0, draws);
  uint8_t* weights = const_cast<uint8_t*>(c.kv_b.weight().data);
  for (int64_t d = 0; d < kRank; ++d) {
    for (int64_t r = 0; r < kRank; ++r)
      StoreAs(Storage::kBf16, r == d ? 1 : 0, weights + 2 * ((8 + d) * kRank + r));
  }
  const auto group = [](int64_t r) { return r / kLatentGroup * kLatentGroup; };
  for (int64_t t = 0; t < c.latent.rows; ++t) {
    for (int64_t r = 0; r < kRank; ++r) {
      float& x = c.latent.data[static_cast<size_t>(t * kRank + r)];
      if (t < 10 && r == 200) x *= 1000;              // an outlier, which is no matter of other groups
      if (t >= 10 && t < 15 && group(r) == 0) x = 0;  // zeros
      if (t >= 15 && t < 20) x *= 1e-35f;             // too small to have a scale
      if (t >= 20 && t < 25) x *= 1e30f;
    }
  }
  std::vector<Subject> subjects = MakeSubjects(c.shapes(), 1, CacheType::kInt8);
  subjects.push_back({"reference", MakeReference(c.shapes(), CacheType::kInt8)});
  for (const Subject& s : subjects) {
    Matrix y(c.rows, kRank, 0);
    Caches caches(c, *s.backend);
    caches.AppendAll();
    caches.Attend(0, c.rows, y.tensor());
    for (int64_t t = 0; t < c.rows; ++t) {
      for (int64_t r = 0; r < kRank; ++r) {
        double largest = 0;
        for (int64_t i = group(r); i < std::min(kRank, group(r) + kLatentGroup); ++i)
          largest = std::max(largest, std::fabs(double{c.latent.at(t, i)}));
        const double half_step = largest < 0x1p-100 ? largest : largest / 254;
        const double x = c.latent.at(t, r),
                     bound = half_step * (1 + 1e-6) + 0x1p-8 * (std::fabs(x) + half_step);
        if (std::fabs(y.at(t, r) - x) <= bound) continue;
        Fail(__FILE__, __LINE__,
             s.name + " reads " + std::to_string(y.at(t, r)) + " for " + std::to_string(x));
      }
    }
  }
}

TEST(int8_cache_of_k2_takes_656_bytes) {
  BackendShapes s = SmallShapes();
  s.kv_rank = 512;
  s.rope_dim = 64;
  for (const Subject& subject : MakeSubjects(s, 1, CacheType::kInt8))
    EXPECT(subject.backend->CacheBytesPerToken(s) == 656);
}

}  // namespace
}  // namespace k2::test
