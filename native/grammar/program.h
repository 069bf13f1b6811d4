// A compiled grammar: what lib/grammar makes of a JSON Schema or a regular expression, as flat numbers.
// Immutable and shared; everything in it was checked when it was read, so that nothing behind it needs to
// check again.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"

namespace k2 {

// The order is part of the contract with TypeScript (lib/grammar/program.ts).
enum class GrammarOp : uint8_t {
  kFail,      // no text
  kEmpty,     // the empty text
  kBytes,     // one byte of a set
  kLiteral,   // bytes of the pool
  kSeq,       // nodes one after the other
  kAlt,       // one of the nodes
  kRepeat,    // a node lo..hi times
  kRule,      // a rule, expanded when it is reached
  kDeeper,    // a node one container (array) further down
  kObject,    // a JSON object with its members in any order
  kToken,     // one control token
  kAnyToken,  // one ordinary token, whatever its bytes
  kExternal,  // rule 0 of an imported program
  kIndex,     // the decimal digits of the running index
  kNext,      // a node with the next index
};

struct ByteSet {
  uint64_t words[4] = {0, 0, 0, 0};
  bool Has(int byte) const { return (words[byte >> 6] >> (byte & 63)) & 1; }
  bool operator==(const ByteSet&) const = default;
};

// A JSON object: `{ ws [member (ws , ws member)*] ws }`, a member being `key ws : ws value`.
struct ObjectShape {
  struct Member {
    std::string key;  // its JSON text, with quotes
    int32_t rule;     // of its value
    bool required;
  };
  int32_t space;       // node of optional white space
  int32_t any_key;     // node of any JSON string, for members that are not declared
  int32_t additional;  // rule of undeclared members' values; -1: there are none
  int64_t min_members;
  int64_t max_members;  // -1: no limit
  std::vector<Member> members;
};

struct GrammarNode {
  GrammarOp op = GrammarOp::kFail;
  bool nullable = false;   // takes the empty text
  bool has_rules = false;  // holds something whose expansion depends on where it stands
  int32_t index = 0;       // of the set, object, rule, token or import; else of the first child in `children`
  int32_t count = 0;       // of children
  int64_t lo = 0, hi = 0;  // of a repetition; hi -1: no limit
  std::string text;        // of a literal
};

// Numbers as they arrive from JavaScript.
struct GrammarSource {
  std::span<const double> code;
  std::span<const uint32_t> nodes, rules, heights;
  std::span<const uint8_t> pool;
  std::vector<std::shared_ptr<const struct GrammarProgram>> imports;
};

struct GrammarProgram {
  std::vector<GrammarNode> nodes;
  std::vector<int32_t> children;
  std::vector<ByteSet> sets;
  std::vector<ObjectShape> objects;
  std::vector<int32_t> rules;    // node of each; rule 0 is the start
  std::vector<int32_t> heights;  // least nesting of containers in any value of the rule
  std::vector<std::shared_ptr<const GrammarProgram>> imports;
  bool has_text = false;  // not only tokens as a whole
  int64_t bytes = 0;      // memory that all this takes, imports aside

  // `vocab` bounds the control tokens.
  static Result<std::shared_ptr<const GrammarProgram>> Read(const GrammarSource& source, int64_t vocab);
};

}  // namespace k2
