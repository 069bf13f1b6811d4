// The emulator itself: what it computes, and that it sees the mistakes that hardware would hide. The small
// kernels below are right, or wrong in one way each.
#include "check.h"
#include "shim.h"

namespace k2::msl {

struct RowArguments {
  Buffer<const float> x;
  Buffer<float> y;
  uint columns;
};

// The sum of x over a threadgroup of 128, in every y; its variants have one mistake each.
template <int kMistake>
[[kernel]] void SumOfThreads(constant RowArguments& a [[buffer(0)]], K2_POSITION) {
  K2_THREADGROUP(float, sums, 4);
  float sum = 0.0f;
  const uint end = kMistake == 2 ? a.columns - 32 : a.columns;
  for (uint i = thread_index; i < end; i += 128) sum += a.x[i];
  if (kMistake == 3 && simd_index == 1 && lane == 7) return;
  sum = simd_sum(sum);
  if (lane == 0) sums[simd_index] = sum;
  if (kMistake == 4 && simd_index == 2) {
    threadgroup_barrier(mem_flags::mem_threadgroup);
  } else if (kMistake != 1) {
    threadgroup_barrier(mem_flags::mem_threadgroup);
  }
  float all = 0.0f;
  for (uint i = 0; i < (kMistake == 5 ? 3u : 4u); ++i) all += sums[i];
  a.y[thread_index] = all;
}
K2_KERNEL_OF("sum", SumOfThreads, 0)
K2_KERNEL_OF("sum_without_barrier", SumOfThreads, 1)
K2_KERNEL_OF("sum_of_one_group_less", SumOfThreads, 2)
K2_KERNEL_OF("sum_with_a_lane_gone", SumOfThreads, 3)
K2_KERNEL_OF("sum_with_two_barriers", SumOfThreads, 4)
K2_KERNEL_OF("sum_of_one_simdgroup_less", SumOfThreads, 5)

[[kernel]] void Shuffled(constant RowArguments& a [[buffer(0)]], K2_POSITION) {
  const float own = a.x[thread_index];
  a.y[thread_index] = simd_shuffle(own, ushort(31 - lane)) + simd_max(own);
}
K2_KERNEL(Shuffled)

}  // namespace k2::msl

#undef device
#undef constant
#undef threadgroup
#undef thread
#undef kernel

namespace k2::test {
namespace {

struct Outcome {
  std::string fault;
  std::vector<float> y;
};

Outcome RunSum(const char* kernel, uint64_t seed) {
  std::vector<float> x(1000);
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 17);
  Outcome outcome{.fault = {}, .y = std::vector<float>(128, -1.0f)};
  const msl::RowArguments arguments{x.data(), outcome.y.data(), 1000};
  outcome.fault = emulator::Run({.kernel = emulator::FindKernel(kernel),
                                 .arguments = &arguments,
                                 .groups = {1, 1, 1},
                                 .threads = 128,
                                 .seed = seed});
  return outcome;
}

bool IsRight(const Outcome& outcome) {
  float sum = 0;
  for (int i = 0; i < 1000; ++i) sum += static_cast<float>(i % 17);
  for (float y : outcome.y) {
    if (y != sum) return false;
  }
  return outcome.fault.empty();
}

TEST(emulator_runs_a_kernel_in_any_order) {
  for (uint64_t seed = 1; seed <= 50; ++seed) EXPECT(IsRight(RunSum("sum", seed)));
}

TEST(emulator_shows_a_missing_barrier) {
  int wrong = 0;
  for (uint64_t seed = 1; seed <= 10; ++seed) wrong += !IsRight(RunSum("sum_without_barrier", seed));
  EXPECT(wrong == 10);
}

TEST(emulator_shows_a_group_left_out) {
  EXPECT(!IsRight(RunSum("sum_of_one_group_less", 1)));
  EXPECT(!IsRight(RunSum("sum_of_one_simdgroup_less", 1)));
}

TEST(emulator_reports_threads_that_do_not_meet) {
  const std::string gone = RunSum("sum_with_a_lane_gone", 1).fault;
  EXPECT(gone.find("sum_with_a_lane_gone: ") == 0 && gone.find("for others that never come") != gone.npos);
  const std::string two = RunSum("sum_with_two_barriers", 1).fault;
  EXPECT(two.find("threads meet at the barriers of emulator_test.cc:") != two.npos);
  EXPECT(IsRight(RunSum("sum", 2)));  // the next launch is not affected
}

TEST(emulator_shuffles_and_compares) {
  std::vector<float> x(64), y(64);
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i);
  const msl::RowArguments arguments{x.data(), y.data(), 64};
  EXPECT(emulator::Run({emulator::FindKernel("Shuffled"), &arguments, {1, 1, 1}, 64}).empty());
  for (size_t i = 0; i < 64; ++i) {
    const size_t first = i / 32 * 32;
    EXPECT(y[i] == static_cast<float>(first + 31 - i % 32 + first + 31));
  }
}

}  // namespace
}  // namespace k2::test
