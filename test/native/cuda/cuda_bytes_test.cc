// What the CUDA kernels read, counted byte by byte: a byte of a weight is read once for up to 8 tokens, and
// once for up to 32 of more; and the numbers at the true row lengths of K2.
#include <cmath>

#include "check.h"
#include "conformance_attention.h"
#include "cuda/mock_driver.h"
#include "gpu/emulator.h"

namespace k2::test {
namespace {

constexpr Coding kInt4 = {Storage::kInt4, Storage::kBf16, 1, 32};
constexpr Coding kBf16 = {Storage::kBf16};
constexpr Coding kFp8 = {Storage::kF8E4m3, Storage::kF32, 128, 128};

BackendShapes K2Shapes() {
  return {.hidden = 7168,
          .heads = 64,
          .kv_rank = 512,
          .nope_dim = 128,
          .rope_dim = 64,
          .value_dim = 128,
          .experts = 2,
          .chosen = 1,
          .expert_width = 2048,
          .dense_width = 2048,
          .widest_input = 18432,
          .batch_tokens = 40};
}

std::unique_ptr<Backend> MakeCuda() {
  std::unique_ptr<Backend> backend = MakeEmulatedCuda(1, false);
  EXPECT(backend->Prepare(K2Shapes()).ok());
  return backend;
}

void ExpectWithin(const char* what, const Matrix& y, int64_t row, const Bounded& expected) {
  for (size_t n = 0; n < expected.value.size(); ++n) {
    const double error = std::fabs(y.at(row, static_cast<int64_t>(n)) - expected.value[n]);
    if (error <= expected.bound[n]) continue;
    return Fail(__FILE__, __LINE__,
                std::string(what) + ": number " + std::to_string(n) + " is off by " + std::to_string(error) +
                    ", allowed " + std::to_string(expected.bound[n]));
  }
}

// 16 rows are whole tiles, so no byte is there to fill up. The four lanes of a row read its scale each.
uint64_t BytesOf(const Weight& w) {
  const int64_t groups = w.columns / 32 * w.rows * 4;
  return static_cast<uint64_t>(w.rows * w.row_bytes() +
                               (w.block_rows > 0 ? groups * StorageBytes(w.scale_storage) : 0));
}

TEST(cuda_linear_of_k2_row_lengths) {
  const std::unique_ptr<Backend> cuda = MakeCuda();
  for (const int64_t columns : {512, 1536, 7168, 18432}) {
    for (const Coding& coding : {kBf16, kFp8, kInt4}) {
      const StoredWeight w(coding, 16, columns, static_cast<uint64_t>(columns));
      const int64_t most = columns == 512 ? 33 : 8;
      const Matrix x = RandomActivations(most, columns, 5);
      Matrix alone(1, 16, NAN);
      for (const int64_t tokens : {int64_t{1}, most}) {
        Matrix y(tokens, 16, NAN);
        emulator::ReadCounts counts;
        const Matrix part = x.Rows(0, tokens);
        cuda->Linear({.x = part.tensor(), .w = &w.weight(), .y = y.tensor()});
        EXPECT(cuda->Synchronize().ok());
        EXPECT(counts.other_bytes() == BytesOf(w.weight()) * (tokens > 32 ? 2 : 1));
        if (tokens == 1) alone = y;
        EXPECT(SameBits(y.Rows(0, 1), alone));
        ExpectWithin("linear", y, tokens - 1,
                     LinearBounded(Exactly(x.tensor().row(tokens - 1), columns), w.weight(), false));
      }
    }
  }
}

// One expert of two, with rows of the lengths given.
void ExpectExpertBytes(int64_t hidden, int64_t width) {
  const std::unique_ptr<Backend> cuda = MakeCuda();
  std::vector<std::unique_ptr<StoredWeight>> weights;
  std::vector<Expert> experts;
  for (int e = 0; e < 2; ++e) {
    const auto add = [&](int64_t rows, int64_t columns) {
      weights.push_back(std::make_unique<StoredWeight>(kInt4, rows, columns, weights.size() + 1));
      return &weights.back()->weight();
    };
    const Weight *gate = add(width, hidden), *up = add(width, hidden);
    experts.push_back({gate, up, add(hidden, width)});
  }
  const Matrix x = RandomActivations(1, hidden, 3);
  Matrix y(1, hidden, 0.25f);
  const int32_t id = 1;
  const float weight = 0.5f;
  emulator::ReadCounts counts;
  cuda->RoutedExperts({.x = x.tensor(),
                       .expert_ids = &id,
                       .expert_weights = &weight,
                       .chosen = 1,
                       .experts = experts,
                       .y = y.tensor()});
  EXPECT(cuda->Synchronize().ok());
  // Of an expert that nobody chose, nothing.
  EXPECT(counts.other_bytes() ==
         BytesOf(*experts[1].gate) + BytesOf(*experts[1].up) + BytesOf(*experts[1].down));
  const Bounded out =
      FeedForwardBounded(Exactly(x.data.data(), hidden), *experts[1].gate, *experts[1].up, *experts[1].down);
  for (int64_t n = 0; n < hidden; ++n) {
    const size_t i = static_cast<size_t>(n);
    EXPECT_NEAR(y.at(0, n), 0.25 + 0.5 * out.value[i], 0.5 * out.bound[i] + 1e-6);
  }
}

TEST(cuda_experts_read_the_chosen_ones_once) {
  ExpectExpertBytes(7168, 64);
  ExpectExpertBytes(64, 2048);
}

// A decoded token of K2's shapes gives the numbers of the reference.
TEST(cuda_attention_of_k2_shapes) {
  Draws draws(40);
  AttentionCase c({64, 128, 64, 128, 512, 64}, {{20, 1, AttentionForm::kAbsorbed}}, kBf16, 0.05, draws);
  const std::unique_ptr<Backend> cuda = MakeCuda(), reference = MakeReference(K2Shapes());
  Matrix y(1, 64 * 128, NAN), expected(1, 64 * 128, NAN);
  Caches caches(c, *cuda), expected_caches(c, *reference);
  caches.AppendAll();
  EXPECT(cuda->Synchronize().ok());
  emulator::ReadCounts counts;
  caches.Attend(0, 1, y.tensor());
  EXPECT(cuda->Synchronize().ok());
  EXPECT(counts.other_bytes() == static_cast<uint64_t>(64 * 256 * 512 * 2));  // W_UK and W_UV once
  expected_caches.AppendAll();
  expected_caches.Attend(0, 1, expected.tensor());
  const std::vector<double> bounds = AttentionBounds(c);
  for (size_t i = 0; i < bounds.size(); ++i) EXPECT_NEAR(y.data[i], expected.data[i], bounds[i]);
}

}  // namespace
}  // namespace k2::test
