// A test harness of one header: TEST registers a function, EXPECT counts failures and says where, RunTests
// runs all tests or those whose name contains the first argument, and prints one closing line.
#pragma once

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace k2::test {

struct TestCase {
  const char* name;
  void (*run)();
};

inline std::vector<TestCase>& AllTests() {
  static std::vector<TestCase> tests;
  return tests;
}

struct Registration {
  Registration(const char* name, void (*run)()) { AllTests().push_back({name, run}); }
};

// Failures of the running test; only the first few are printed.
inline int& Failures() {
  static int failures = 0;
  return failures;
}

inline void Fail(const char* file, int line, const std::string& message) {
  if (++Failures() <= 5) std::printf("    %s:%d: %s\n", file, line, message.c_str());
}

// Arguments are parts of names: those of the tests to run, and behind a dash those of tests to leave out.
inline bool IsWanted(const char* name, int argc, char** argv) {
  bool is_named = true;
  for (int i = 1; i < argc; ++i) {
    if (argv[i][0] != '-') is_named = false;
  }
  for (int i = 1; i < argc; ++i) {
    const bool is_left_out = argv[i][0] == '-';
    if (std::strstr(name, argv[i] + is_left_out) == nullptr) continue;
    if (is_left_out) return false;
    is_named = true;
  }
  return is_named;
}

inline int RunTests(int argc, char** argv) {
  int passed = 0, failed = 0, index = 0;
  // "i/n" in the environment: only every n-th test, from the i-th on, so that n processes share them.
  int shard = 0, shards = 1;
  if (const char* const share = std::getenv("K2_TEST_SHARD"); share != nullptr)
    (void)std::sscanf(share, "%d/%d", &shard, &shards);
  for (const TestCase& test : AllTests()) {
    if (!IsWanted(test.name, argc, argv) || index++ % shards != shard) continue;
    Failures() = 0;
    test.run();
    Failures() == 0 ? ++passed : ++failed;
    if (Failures() != 0) std::printf("  FAILED %s (%d)\n", test.name, Failures());
    std::fflush(stdout);
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed == 0 && passed > 0 ? 0 : 1;
}

}  // namespace k2::test

#define TEST(name)                                                         \
  static void Test_##name();                                               \
  static ::k2::test::Registration registration_##name(#name, Test_##name); \
  static void Test_##name()

#define EXPECT(condition)                                                           \
  do {                                                                              \
    if (!(condition)) ::k2::test::Fail(__FILE__, __LINE__, "expected " #condition); \
  } while (false)

#define EXPECT_NEAR(actual, expected, tolerance)                                                      \
  do {                                                                                                \
    const double k2_a = (actual), k2_e = (expected), k2_t = (tolerance);                              \
    if (!(std::fabs(k2_a - k2_e) <= k2_t)) {                                                          \
      ::k2::test::Fail(__FILE__, __LINE__,                                                            \
                       #actual " is " + std::to_string(k2_a) + ", expected " + std::to_string(k2_e) + \
                           " +- " + std::to_string(k2_t));                                            \
    }                                                                                                 \
  } while (false)
