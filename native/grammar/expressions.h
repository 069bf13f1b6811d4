// What may still follow, as an expression, and what follows after one more symbol, as its derivative
// (Brzozowski 1964). Equal expressions are stored once, so that a state of the automaton is one number and a
// state seen before costs one look into a table. Alternatives run side by side as one expression; nested
// containers are a sequence that grows.
//
// A symbol is a byte (0..255), one ordinary token as a whole (kAnyTokenSymbol), or a control token
// (TokenSymbol(id)).
#pragma once

#include <memory>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "grammar/program.h"

namespace k2 {

using ExprId = int32_t;
// Containers that a value may nest; the parser of calls takes twice as many.
constexpr int32_t kMostDepth = 128;
constexpr int32_t kMostIndex = 1'000'000'000;
constexpr ExprId kFailExpr = 0;   // nothing may follow
constexpr ExprId kEmptyExpr = 1;  // the end

constexpr int32_t kAnyTokenSymbol = 256;
constexpr int32_t TokenSymbol(int32_t id) { return 257 + id; }

class Expressions {
 public:
  // Counts above `clip` are equal to it for whoever looks no further than one token.
  explicit Expressions(int64_t clip);
  Expressions(const Expressions&) = delete;
  Expressions& operator=(const Expressions&) = delete;
  ~Expressions();

  // The start of a program whose running index begins with `index`.
  ExprId Start(std::shared_ptr<const GrammarProgram> program, int32_t index = 0);

  ExprId Derive(ExprId expr, int32_t symbol);
  // The derivative by a byte, from a table where this is worth one.
  ExprId Next(ExprId expr, uint8_t byte);
  bool Nullable(ExprId expr) const { return exprs_[static_cast<size_t>(expr)].nullable; }

  // An expression with the same next tokens, equal for more states: counts are clipped, and what follows a
  // control token is dropped.
  ExprId Clip(ExprId expr);

  // How much there is, for deciding when to begin afresh.
  size_t size() const { return exprs_.size(); }
  size_t tables() const { return table_count_; }
  int64_t program_bytes() const { return program_bytes_; }
  // Copies an expression of another store, which came from `program`, into this one.
  ExprId Import(const Expressions& from, ExprId expr, std::shared_ptr<const GrammarProgram> program);

 private:
  enum class Kind : uint8_t {
    kFail,
    kEmpty,
    kBytes,
    kLiteral,
    kSeq,
    kAlt,
    kRepeat,
    kRule,
    kObject,
    kToken,
    kAnyToken,
    kKey
  };

  struct Expr {
    Kind kind;
    bool nullable;
    bool is_large;  // holds a count above clip_, or something behind a control token
    int32_t a, b;   // children, or indices into the tables below
    int64_t lo, hi;
    bool operator==(const Expr&) const = default;
  };
  // Where a node stands, as far as its expansion depends on it.
  struct Place {
    int32_t depth = 0;  // containers that may still be opened
    int32_t index = 0;  // the running index
    bool operator==(const Place&) const = default;
  };
  struct Rule {
    const GrammarProgram* program;
    int32_t rule;
    Place place;
    bool operator==(const Rule&) const = default;
  };
  enum class Stage : uint8_t { kFirst, kMember, kAfter };
  struct ObjectState {
    const GrammarProgram* program;
    int32_t object;
    int32_t depth;
    Stage stage;
    bool has_additional;
    std::vector<uint64_t> used;  // bit i: member i is there
    bool operator==(const ObjectState&) const = default;
  };
  // The declared keys of an object as a tree of bytes: an undeclared key must leave it, or end inside it.
  struct KeyTree {
    struct Node {
      std::unordered_map<uint8_t, int32_t> next;
      bool is_end = false;
    };
    std::vector<Node> nodes;
  };

  void Keep(std::shared_ptr<const GrammarProgram> program);
  ExprId Intern(const Expr& expr);
  ExprId Bytes(const ByteSet& set);
  ExprId Byte(char byte);
  ExprId Literal(const std::string* text, int32_t offset);
  ExprId Seq(ExprId a, ExprId b);
  ExprId Alt(std::vector<ExprId> choices);
  ExprId Repeat(ExprId expr, int64_t lo, int64_t hi);
  ExprId MakeRule(const Rule& rule);
  ExprId MakeObject(ObjectState state);
  ExprId Key(int32_t tree, int32_t node, ExprId rest);
  ExprId Instantiate(const GrammarProgram* program, int32_t node, Place place);
  ExprId InstantiateNew(const GrammarProgram* program, int32_t node, Place place);
  ExprId InstantiateRule(const GrammarProgram* program, int32_t rule, Place place);
  ExprId Digits(int32_t index);
  // What a rule or the state of an object stands for.
  ExprId Expand(ExprId expr);
  ExprId ExpandObject(const ObjectState& state);
  ExprId Members(const ObjectState& state);
  int32_t KeysOf(const GrammarProgram* program, int32_t object);
  std::span<const ExprId> Choices(const Expr& expr) const {
    return std::span(choices_).subspan(static_cast<size_t>(expr.a), static_cast<size_t>(expr.b));
  }
  size_t HashOf(const Expr& expr) const;
  ExprId DeriveSeq(const Expr& expr, int32_t symbol);
  ExprId DeriveKey(const Expr& expr, int32_t symbol);
  ExprId ImportSpine(const Expressions& from, ExprId expr, std::unordered_map<ExprId, ExprId>& done);

  const int64_t clip_;
  std::vector<Expr> exprs_;
  std::vector<ExprId> choices_;  // of alternatives, one after the other
  std::unordered_multimap<size_t, ExprId> by_hash_;
  std::vector<std::unique_ptr<ExprId[]>>
      next_;  // per expression: 256 derivatives, -1 not known; null without a table
  size_t table_count_ = 0;
  std::vector<ExprId> expanded_;  // per expression; -1: not yet
  std::unordered_map<ExprId, ExprId> clipped_;

  std::vector<ByteSet> sets_;
  std::vector<const std::string*> literals_;
  std::vector<Rule> rules_;
  std::vector<ObjectState> objects_;
  std::vector<KeyTree> key_trees_;
  std::unordered_map<const ObjectShape*, int32_t> trees_of_;
  std::unordered_map<const std::string*, int32_t> literal_index_;
  std::unordered_multimap<size_t, int32_t> set_index_, rule_index_, object_index_;
  struct InstanceKey {
    const GrammarProgram* program;
    int32_t node;
    Place place;
    bool operator==(const InstanceKey&) const = default;
  };
  struct InstanceHash {
    size_t operator()(const InstanceKey& key) const;
  };
  std::unordered_map<InstanceKey, ExprId, InstanceHash> instances_;
  // Kept alive as long as expressions point into them.
  std::unordered_set<std::shared_ptr<const GrammarProgram>> programs_;
  int64_t program_bytes_ = 0;
};

}  // namespace k2
