// Grammars built by hand: which tokens may come next, against an enumeration of all tokens one by one.
#include <string>

#include "check.h"
#include "grammar/constraint.h"

namespace k2 {
namespace {

// A program in the numbers that TypeScript sends. Node methods return the node's id.
class Builder {
 public:
  int Node(std::initializer_list<double> numbers) {
    nodes_.push_back(static_cast<uint32_t>(code_.size()));
    code_.insert(code_.end(), numbers);
    return static_cast<int>(nodes_.size()) - 1;
  }
  int Empty() { return Node({1}); }
  int Bytes(const std::string& bytes) {
    double words[8] = {};
    for (unsigned char byte : bytes) words[byte / 32] += static_cast<double>(1u << byte % 32);
    return Node({2, words[0], words[1], words[2], words[3], words[4], words[5], words[6], words[7]});
  }
  int Literal(const std::string& text) {
    const double offset = Text(text);
    return Node({3, offset, static_cast<double>(text.size())});
  }
  double Text(const std::string& text) {
    pool_ += text;
    return static_cast<double>(pool_.size() - text.size());
  }
  int Seq(int a, int b) { return Node({4, 2, double(a), double(b)}); }
  int Alt(int a, int b) { return Node({5, 2, double(a), double(b)}); }
  int Repeat(int a, double lo, double hi) { return Node({6, double(a), lo, hi}); }

  Result<std::shared_ptr<const GrammarProgram>> Read(std::vector<uint32_t> rules,
                                                     std::vector<uint32_t> heights = {}) {
    heights.resize(rules.size());
    const auto* pool = reinterpret_cast<const uint8_t*>(pool_.data());
    return GrammarProgram::Read({code_, nodes_, rules, heights, std::span(pool, pool_.size()), {}}, kVocab);
  }

  static constexpr int64_t kVocab = 300;

 private:
  std::vector<double> code_;
  std::vector<uint32_t> nodes_;
  std::string pool_;
};

// All single bytes, then some longer tokens; 290 to 299 are among the control tokens.
TokenBytes Vocabulary() {
  TokenBytes tokens;
  tokens.offsets.push_back(0);
  const auto add = [&](const std::string& text) {
    tokens.pool.insert(tokens.pool.end(), text.begin(), text.end());
    tokens.offsets.push_back(static_cast<uint32_t>(tokens.pool.size()));
  };
  for (int byte = 0; byte < 256; ++byte) add(std::string(1, static_cast<char>(byte)));
  for (const char* text :
       {"aa", "aaa", "ab", "\"a",      "\":",       "{\"", "\"}", "}}",  "aaaaaaaa", "b\"", "\":1",
        "1,", ",\"", "11", "\"b\":1}", "{\"a\":1}", "  ",  "{}",  "\"c", "c\":",     "é",   "éa",
        "[[", "]]",  "[1", "1]",       "xyz",       "zz",  "01",  "10",  "00"}) {
    add(text);
  }
  return tokens;
}

std::shared_ptr<ConstraintStore> Store() {
  return ConstraintStore::Create(Vocabulary(), Builder::kVocab).value();
}

// The set of a constraint's next tokens, checked one by one against an automaton that knows no trie, tables
// or clipping.
void CheckSet(Constraint& constraint, Expressions& plain, ExprId at) {
  const TokenBytes tokens = Vocabulary();
  const auto set = constraint.Allowed().value();
  for (int32_t id = 0; id < Builder::kVocab; ++id) {
    ExprId expr = at;
    if (id >= tokens.count()) {
      expr = plain.Derive(at, TokenSymbol(id));
    } else if (plain.Derive(at, kAnyTokenSymbol) == kFailExpr) {
      for (uint8_t byte : tokens.Of(id)) expr = plain.Derive(expr, byte);
    }
    EXPECT(set->Has(id) == (expr != kFailExpr));
  }
}

// Takes `text` byte by byte, checking every set on the way; whether the text may end there.
bool Accepts(const std::shared_ptr<const GrammarProgram>& program, const std::string& text) {
  auto store = Store();
  auto constraint = store->Begin(program).value();
  Expressions plain(1'000'000'000);
  ExprId at = plain.Start(program);
  for (unsigned char byte : text) {
    CheckSet(*constraint, plain, at);
    if (!constraint->Allowed().value()->Has(byte)) return false;
    EXPECT(constraint->Advance(byte).ok());
    at = plain.Derive(at, byte);
  }
  return plain.Nullable(at);
}

TEST(GrammarLiteralsChoicesAndCounts) {
  Builder b;
  const int aaa = b.Repeat(b.Bytes("a"), 2, 9);
  const int start = b.Seq(b.Alt(aaa, b.Literal("ab\"")), b.Literal("xyz"));
  const auto program = b.Read({static_cast<uint32_t>(start)}).value();
  EXPECT(Accepts(program, "aaxyz"));
  EXPECT(Accepts(program, "aaaaaaaaaxyz"));
  EXPECT(Accepts(program, "ab\"xyz"));
  EXPECT(!Accepts(program, "axyz"));
  EXPECT(!Accepts(program, "aaaaaaaaaaxyz"));
  EXPECT(!Accepts(program, "aax"));
}

TEST(GrammarCountsBeyondATokenShareTheirSets) {
  Builder b;
  const int start = b.Seq(b.Repeat(b.Bytes("a"), 0, 5'000'000), b.Literal("z"));
  auto store = Store();
  auto constraint = store->Begin(b.Read({static_cast<uint32_t>(start)}).value()).value();
  const auto first = constraint->Allowed().value();
  for (int i = 0; i < 1000; ++i) {
    EXPECT(constraint->Advance('a').ok());
    EXPECT(constraint->Allowed().value() == first);
  }
}

TEST(GrammarObjectsInAnyOrder) {
  Builder b;
  const int space = b.Repeat(b.Bytes(" \n"), 0, 3);
  const int key = b.Seq(b.Literal("\""), b.Seq(b.Repeat(b.Bytes("abcx"), 0, -1), b.Literal("\"")));
  const int number = b.Repeat(b.Bytes("10"), 1, 3);
  const double a = b.Text("\"a\""), ab = b.Text("\"ab\"");
  // a required, ab optional, others numbers too; at most three.
  const int object = b.Node({9, double(space), double(key), 1, 0, 3, 2, a, 3, 1, 1, ab, 4, 1, 0});
  const auto program = b.Read({static_cast<uint32_t>(object), static_cast<uint32_t>(number)}, {1, 0}).value();
  EXPECT(Accepts(program, "{\"a\":1}"));
  EXPECT(Accepts(program, "{ \"ab\" : 10 , \"a\": 0\n}"));
  EXPECT(Accepts(program, "{\"x\":1,\"a\":1,\"ab\":11}"));
  EXPECT(Accepts(program, "{\"abc\":1,\"a\":1}"));
  EXPECT(!Accepts(program, "{}"));
  EXPECT(!Accepts(program, "{\"ab\":1}"));
  EXPECT(!Accepts(program, "{\"a\":1,\"a\":1}"));
  EXPECT(!Accepts(program, "{\"a\":1,}"));
  EXPECT(!Accepts(program, "{\"x\":1,\"c\":1,\"a\":1}"));
}

TEST(GrammarRecursionEndsAtTheDepthLimit) {
  Builder b;
  // value := [ value? ]
  const int rule = b.Node({7, 0});
  const int inner = b.Node({8, double(b.Alt(b.Empty(), rule))});
  const int start = b.Seq(b.Literal("["), b.Seq(inner, b.Literal("]")));
  const auto program = b.Read({static_cast<uint32_t>(start)}, {1}).value();
  EXPECT(Accepts(program, "[[[]]]"));
  EXPECT(!Accepts(program, "[[]"));
  auto constraint = Store()->Begin(program).value();
  int depth = 0;
  for (; constraint->Allowed().value()->Has('['); ++depth) EXPECT(constraint->Advance('[').ok());
  EXPECT(depth == kMostDepth);
  for (; depth > 0; --depth) EXPECT(constraint->Advance(']').ok());
  EXPECT(constraint->Allowed().value()->count == int64_t{0});
}

TEST(GrammarFreeTextAndControlTokens) {
  Builder b;
  const int text = b.Repeat(b.Node({11}), 0, -1);
  const int call = b.Seq(b.Node({10, 290}), b.Seq(b.Literal("aa"), b.Node({10, 291})));
  const auto program = b.Read({static_cast<uint32_t>(b.Seq(text, call))}).value();
  auto store = Store();
  auto constraint = store->Begin(program).value();
  for (int32_t id : {5, 280, 290}) {
    const auto set = constraint->Allowed().value();
    EXPECT(set->count == static_cast<int64_t>(Vocabulary().count()) + 1);
    EXPECT(set->Has(290) && !set->Has(291));
    EXPECT(constraint->Advance(id).ok());
  }
  EXPECT(constraint->Allowed().value()->Has(256));  // "aa"
  EXPECT(constraint->Allowed().value()->count == int64_t{2});
  EXPECT(constraint->Advance(256).ok());
  EXPECT(constraint->Allowed().value()->count == int64_t{1});
  EXPECT(!constraint->Advance(290).ok());
}

TEST(GrammarCountsWithARunningIndex) {
  Builder b;
  // rule 0: the digits, a comma, and the same with the next index, or the end
  const int again = b.Node({14, double(b.Node({7, 0}))});
  const int start = b.Seq(b.Node({13}), b.Seq(b.Literal(","), b.Alt(b.Literal("z"), again)));
  const auto program = b.Read({static_cast<uint32_t>(start)}).value();
  auto store = Store();
  for (int32_t first : {0, 7, 98, kMostIndex - 1}) {
    auto constraint = store->Begin(program, first).value();
    std::string text;
    for (int32_t i = first; i <= std::min(first + 3, kMostIndex); ++i) text += std::to_string(i) + ",";
    text += "z";
    for (unsigned char byte : text) {
      EXPECT(constraint->Allowed().value()->Has(byte));
      EXPECT(constraint->Advance(byte).ok());
    }
    EXPECT(constraint->Allowed().value()->count == int64_t{0});
  }
  // Behind the greatest index there is only the end.
  auto last = store->Begin(program, kMostIndex).value();
  for (unsigned char byte : std::to_string(kMostIndex) + ",") EXPECT(last->Advance(byte).ok());
  EXPECT(last->Allowed().value()->count == int64_t{1});
}

TEST(GrammarWrongProgramsAreRefused) {
  Builder forward;
  forward.Node({4, 1, 0});
  EXPECT(!forward.Read({0}).ok());
  Builder recursive;
  const int rule = recursive.Node({7, 0});
  recursive.Alt(rule, recursive.Literal("a"));
  EXPECT(!recursive.Read({2}).ok());
  Builder pool;
  pool.Node({3, 0, 1});
  EXPECT(!pool.Read({0}).ok());
  Builder token;
  token.Node({10, 300});
  EXPECT(!token.Read({0}).ok());
  Builder fraction;
  fraction.Repeat(fraction.Bytes("a"), 0.5, 2);
  EXPECT(!fraction.Read({1}).ok());
}

// Thousands of different states: the store begins afresh and every constraint goes on as before.
TEST(GrammarStoreStaysSmall) {
  Builder b;
  const int start =
      b.Seq(b.Repeat(b.Bytes("ab"), 0, -1), b.Seq(b.Literal("a"), b.Repeat(b.Bytes("ab"), 12, 12)));
  const auto program = b.Read({static_cast<uint32_t>(start)}).value();
  auto store = Store();
  auto other = store->Begin(program).value();
  EXPECT(other->Advance('a').ok());
  auto constraint = store->Begin(program).value();
  uint32_t random = 1;
  for (int i = 0; i < 60'000; ++i) {
    random = random * 1664525 + 1013904223;
    EXPECT(constraint->Allowed().value()->Has('a'));
    EXPECT(constraint->Advance(random >> 31 ? 'a' : 'b').ok());
  }
  for (int i = 0; i < 12; ++i) EXPECT(other->Advance('b').ok());
  EXPECT(other->Allowed().value()->Has('b'));
}

}  // namespace
}  // namespace k2
