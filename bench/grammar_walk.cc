// What constrained decoding costs a token, without a model: random walks through grammars over a vocabulary, and the
// time of every Allowed and Advance. bench/grammar.mjs writes the input and reads the lines of output:
//
//   program INDEX READ_US BYTES, and per walk and step: step US IS_NEW COUNT; walks end with: end IS_WHOLE
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>

#include "grammar/constraint.h"

namespace k2 {
namespace {

using Clock = std::chrono::steady_clock;

double MicrosecondsSince(Clock::time_point start) {
  return std::chrono::duration<double, std::micro>(Clock::now() - start).count();
}

// Arrays, each behind its length in bytes as 64 bits.
class Input {
 public:
  explicit Input(const char* path) : file_(path, std::ios::binary) {}

  template <typename T>
  std::vector<T> Array() {
    uint64_t bytes = 0;
    file_.read(reinterpret_cast<char*>(&bytes), sizeof(bytes));
    if (!file_) return {};
    std::vector<T> values(bytes / sizeof(T));
    file_.read(reinterpret_cast<char*>(values.data()), static_cast<std::streamsize>(bytes));
    return values;
  }
  bool AtEnd() { return file_.peek() == EOF; }

 private:
  std::ifstream file_;
};

class Walker {
 public:
  Walker(std::shared_ptr<ConstraintStore> store, const TokenBytes& tokens)
      : store_(std::move(store)), tokens_(tokens) {}

  // Whether the text came to its end within `most` steps.
  Result<bool> Walk(const std::shared_ptr<const GrammarProgram>& program, int most) {
    auto begun = store_->Begin(program);
    if (!begun.ok()) return begun.status();
    Constraint& constraint = *begun.value();
    double advance = 0;
    for (int step = 0; step < most; ++step) {
      const int64_t before = store_->computed_sets();
      const auto start = Clock::now();
      const auto set = constraint.Allowed();
      const double allowed = MicrosecondsSince(start);
      if (!set.ok()) return set.status();
      if (set.value()->count == 0) return true;
      std::printf("step %.2f %d %lld\n", allowed + advance, store_->computed_sets() > before,
                  static_cast<long long>(set.value()->count));
      const int32_t token = Choose(*set.value(), step > most / 4);
      const auto advanced = Clock::now();
      const Status status = constraint.Advance(token);
      advance = MicrosecondsSince(advanced);
      if (!status.ok()) return status;
    }
    return false;
  }

 private:
  // Any token; towards the end rather one that closes something.
  int32_t Choose(const TokenSet& set, bool closes) {
    std::vector<int32_t> ids, closing;
    for (int32_t id = 0; id < tokens_.count(); ++id) {
      if (!set.Has(id)) continue;
      ids.push_back(id);
      bool is_closing = true;
      for (uint8_t byte : tokens_.Of(id)) is_closing &= byte == '"' || byte == '}' || byte == ']';
      if (is_closing) closing.push_back(id);
    }
    const auto& from = closes && !closing.empty() ? closing : ids;
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return from[(state_ >> 33) % from.size()];
  }

  std::shared_ptr<ConstraintStore> store_;
  const TokenBytes& tokens_;
  uint64_t state_ = 7;
};

int Run(const char* path, int walks, int steps) {
  Input input(path);
  TokenBytes tokens;
  tokens.pool = input.Array<uint8_t>();
  tokens.offsets = input.Array<uint32_t>();
  const int64_t vocab = tokens.count() + 256;
  auto store = ConstraintStore::Create(tokens, vocab);
  if (!store.ok()) {
    std::fprintf(stderr, "%s\n", store.status().message().c_str());
    return 1;
  }
  Walker walker(store.value(), tokens);
  for (int index = 0; !input.AtEnd(); ++index) {
    const auto code = input.Array<double>();
    const auto nodes = input.Array<uint32_t>(), rules = input.Array<uint32_t>(),
               heights = input.Array<uint32_t>();
    const auto pool = input.Array<uint8_t>();
    const GrammarSource source{code, nodes, rules, heights, pool, {}};
    auto program = GrammarProgram::Read(source, vocab);
    double read = 1e9;
    for (int run = 0; run < 5; ++run) {
      const auto start = Clock::now();
      program = GrammarProgram::Read(source, vocab);
      read = std::min(read, MicrosecondsSince(start));
    }
    if (!program.ok()) {
      std::fprintf(stderr, "program %d: %s\n", index, program.status().message().c_str());
      return 1;
    }
    std::printf("program %d %.1f %lld\n", index, read, static_cast<long long>(program.value()->bytes));
    for (int walk = 0; walk < walks; ++walk) {
      const auto whole = walker.Walk(program.value(), steps);
      if (!whole.ok()) {
        std::fprintf(stderr, "program %d: %s\n", index, whole.status().message().c_str());
        return 1;
      }
      std::printf("end %d\n", whole.value());
    }
  }
  return 0;
}

}  // namespace
}  // namespace k2

int main(int count, char** values) {
  if (count != 4) return 2;
  return k2::Run(values[1], std::atoi(values[2]), std::atoi(values[3]));
}
