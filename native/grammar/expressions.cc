#include "grammar/expressions.h"

#include <algorithm>

namespace k2 {
namespace {

size_t Mix(size_t hash, uint64_t value) {
  hash ^= value + 0x9e3779b97f4a7c15u + (hash << 6) + (hash >> 2);
  return hash * 0xff51afd7ed558ccdu;
}

size_t HashPointer(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer); }

// The index of an equal value, or of `value` itself, appended.
template <typename T>
int32_t FindOrAdd(std::vector<T>& values, std::unordered_multimap<size_t, int32_t>& index, size_t hash,
                  T value) {
  const auto [first, last] = index.equal_range(hash);
  for (auto entry = first; entry != last; ++entry) {
    if (values[static_cast<size_t>(entry->second)] == value) return entry->second;
  }
  values.push_back(std::move(value));
  const int32_t added = static_cast<int32_t>(values.size()) - 1;
  index.emplace(hash, added);
  return added;
}

}  // namespace

size_t Expressions::InstanceHash::operator()(const InstanceKey& key) const {
  const size_t hash = Mix(HashPointer(key.program), static_cast<uint64_t>(key.node));
  return Mix(Mix(hash, static_cast<uint64_t>(key.place.depth)), static_cast<uint64_t>(key.place.index));
}

Expressions::Expressions(int64_t clip) : clip_(clip) {
  Intern({Kind::kFail, false, false, 0, 0, 0, 0});
  Intern({Kind::kEmpty, true, false, 0, 0, 0, 0});
}

Expressions::~Expressions() = default;

ExprId Expressions::Start(std::shared_ptr<const GrammarProgram> program, int32_t index) {
  const GrammarProgram* start = program.get();
  Keep(std::move(program));
  const ExprId rule = InstantiateRule(start, 0, {kMostDepth, index});
  return rule == kFailExpr ? rule : Expand(rule);
}

void Expressions::Keep(std::shared_ptr<const GrammarProgram> program) {
  if (programs_.contains(program)) return;
  for (const auto& import : program->imports) Keep(import);
  program_bytes_ += program->bytes;
  programs_.insert(std::move(program));
}

size_t Expressions::HashOf(const Expr& expr) const {
  size_t hash = Mix(static_cast<size_t>(expr.kind), static_cast<uint64_t>(expr.lo));
  hash = Mix(hash, static_cast<uint64_t>(expr.hi));
  if (expr.kind != Kind::kAlt)
    return Mix(Mix(hash, static_cast<uint64_t>(expr.a)), static_cast<uint64_t>(expr.b));
  for (ExprId choice : Choices(expr)) hash = Mix(hash, static_cast<uint64_t>(choice));
  return hash;
}

ExprId Expressions::Intern(const Expr& expr) {
  const size_t hash = HashOf(expr);
  const auto [first, last] = by_hash_.equal_range(hash);
  for (auto entry = first; entry != last; ++entry) {
    const Expr& other = exprs_[static_cast<size_t>(entry->second)];
    if (expr.kind != Kind::kAlt
            ? other == expr
            : other.kind == Kind::kAlt && std::ranges::equal(Choices(other), Choices(expr))) {
      if (expr.kind == Kind::kAlt) choices_.resize(static_cast<size_t>(expr.a));
      return entry->second;
    }
  }
  exprs_.push_back(expr);
  expanded_.push_back(-1);
  next_.emplace_back();
  const ExprId id = static_cast<ExprId>(exprs_.size()) - 1;
  by_hash_.emplace(hash, id);
  return id;
}

ExprId Expressions::Bytes(const ByteSet& set) {
  if (set == ByteSet{}) return kFailExpr;
  size_t hash = 0;
  for (uint64_t word : set.words) hash = Mix(hash, word);
  return Intern({Kind::kBytes, false, false, FindOrAdd(sets_, set_index_, hash, set), 0, 0, 0});
}

ExprId Expressions::Byte(char byte) {
  ByteSet set;
  const auto value = static_cast<uint8_t>(byte);
  set.words[value >> 6] = uint64_t{1} << (value & 63);
  return Bytes(set);
}

ExprId Expressions::Literal(const std::string* text, int32_t offset) {
  if (offset == static_cast<int32_t>(text->size())) return kEmptyExpr;
  const auto [entry, is_new] = literal_index_.try_emplace(text, static_cast<int32_t>(literals_.size()));
  if (is_new) literals_.push_back(text);
  return Intern({Kind::kLiteral, false, false, entry->second, offset, 0, 0});
}

// Sequences lean to the right, so that a derivative changes their head alone.
ExprId Expressions::Seq(ExprId a, ExprId b) {
  if (a == kFailExpr || b == kFailExpr) return kFailExpr;
  if (a == kEmptyExpr) return b;
  if (b == kEmptyExpr) return a;
  const Expr left = exprs_[static_cast<size_t>(a)];
  if (left.kind == Kind::kSeq) return Seq(left.a, Seq(left.b, b));
  const bool is_large = left.is_large || left.kind == Kind::kToken || exprs_[static_cast<size_t>(b)].is_large;
  return Intern({Kind::kSeq, left.nullable && Nullable(b), is_large, a, b, 0, 0});
}

ExprId Expressions::Alt(std::vector<ExprId> choices) {
  for (size_t i = 0; i < choices.size();) {
    const Expr& expr = exprs_[static_cast<size_t>(choices[i])];
    if (expr.kind == Kind::kFail) {
      choices[i] = choices.back();
      choices.pop_back();
    } else if (expr.kind == Kind::kAlt) {
      const std::vector<ExprId> inner(Choices(expr).begin(), Choices(expr).end());
      choices[i] = choices.back();
      choices.pop_back();
      choices.insert(choices.end(), inner.begin(), inner.end());
    } else {
      ++i;
    }
  }
  std::ranges::sort(choices);
  const auto repeated = std::ranges::unique(choices);
  choices.erase(repeated.begin(), repeated.end());
  if (choices.empty()) return kFailExpr;
  if (choices.size() == 1) return choices[0];
  const int32_t first = static_cast<int32_t>(choices_.size());
  bool nullable = false, is_large = false;
  for (ExprId choice : choices) {
    nullable |= exprs_[static_cast<size_t>(choice)].nullable;
    is_large |= exprs_[static_cast<size_t>(choice)].is_large;
  }
  choices_.insert(choices_.end(), choices.begin(), choices.end());
  return Intern({Kind::kAlt, nullable, is_large, first, static_cast<int32_t>(choices.size()), 0, 0});
}

ExprId Expressions::Repeat(ExprId expr, int64_t lo, int64_t hi) {
  if (hi == 0) return kEmptyExpr;
  if (expr == kFailExpr) return lo == 0 ? kEmptyExpr : kFailExpr;
  if (expr == kEmptyExpr || (lo == 1 && hi == 1)) return expr;
  const bool is_large = exprs_[static_cast<size_t>(expr)].is_large || lo > clip_ || hi > clip_;
  return Intern({Kind::kRepeat, lo == 0 || Nullable(expr), is_large, expr, 0, lo, hi});
}

ExprId Expressions::MakeRule(const Rule& rule) {
  size_t hash = Mix(HashPointer(rule.program), static_cast<uint64_t>(rule.rule));
  hash = Mix(Mix(hash, static_cast<uint64_t>(rule.place.depth)), static_cast<uint64_t>(rule.place.index));
  const GrammarProgram& program = *rule.program;
  const bool nullable =
      program.nodes[static_cast<size_t>(program.rules[static_cast<size_t>(rule.rule)])].nullable;
  return Intern({Kind::kRule, nullable, false, FindOrAdd(rules_, rule_index_, hash, rule), 0, 0, 0});
}

ExprId Expressions::MakeObject(ObjectState state) {
  size_t hash = Mix(Mix(HashPointer(state.program), static_cast<uint64_t>(state.object)),
                    static_cast<uint64_t>(state.depth));
  hash = Mix(hash, static_cast<uint64_t>(state.stage) * 2 + state.has_additional);
  for (uint64_t word : state.used) hash = Mix(hash, word);
  return Intern(
      {Kind::kObject, false, false, FindOrAdd(objects_, object_index_, hash, std::move(state)), 0, 0, 0});
}

ExprId Expressions::Key(int32_t tree, int32_t node, ExprId rest) {
  if (rest == kFailExpr) return kFailExpr;
  return Intern({Kind::kKey, false, false, tree, rest, node, 0});
}

ExprId Expressions::Digits(int32_t index) {
  ExprId digits = kEmptyExpr;
  do digits = Seq(Byte(static_cast<char>('0' + index % 10)), digits);
  while ((index /= 10) > 0);
  return digits;
}

ExprId Expressions::Instantiate(const GrammarProgram* program, int32_t node, Place place) {
  const InstanceKey key{program, node, program->nodes[static_cast<size_t>(node)].has_rules ? place : Place{}};
  if (const auto found = instances_.find(key); found != instances_.end()) return found->second;
  const ExprId expr = InstantiateNew(program, node, place);
  instances_.emplace(key, expr);
  return expr;
}

ExprId Expressions::InstantiateRule(const GrammarProgram* program, int32_t rule, Place place) {
  if (program->heights[static_cast<size_t>(rule)] > place.depth) return kFailExpr;
  const int32_t node = program->rules[static_cast<size_t>(rule)];
  return MakeRule({program, rule, program->nodes[static_cast<size_t>(node)].has_rules ? place : Place{}});
}

ExprId Expressions::InstantiateNew(const GrammarProgram* program, int32_t id, Place place) {
  const GrammarNode& node = program->nodes[static_cast<size_t>(id)];
  const auto child = [&](int32_t i, Place at) {
    return Instantiate(program, program->children[static_cast<size_t>(node.index + i)], at);
  };
  switch (node.op) {
    case GrammarOp::kFail:
      return kFailExpr;
    case GrammarOp::kEmpty:
      return kEmptyExpr;
    case GrammarOp::kBytes:
      return Bytes(program->sets[static_cast<size_t>(node.index)]);
    case GrammarOp::kLiteral:
      return Literal(&node.text, 0);
    case GrammarOp::kSeq: {
      ExprId all = kEmptyExpr;
      for (int32_t i = node.count; i-- > 0;) all = Seq(child(i, place), all);
      return all;
    }
    case GrammarOp::kAlt: {
      std::vector<ExprId> choices;
      for (int32_t i = 0; i < node.count; ++i) choices.push_back(child(i, place));
      return Alt(std::move(choices));
    }
    case GrammarOp::kRepeat:
      return Repeat(child(0, place), node.lo, node.hi);
    case GrammarOp::kRule:
      return InstantiateRule(program, node.index, place);
    case GrammarOp::kDeeper:
      return place.depth == 0 ? kFailExpr : child(0, {place.depth - 1, place.index});
    case GrammarOp::kNext:
      return place.index == kMostIndex ? kFailExpr : child(0, {place.depth, place.index + 1});
    case GrammarOp::kIndex:
      return Digits(place.index);
    case GrammarOp::kObject: {
      const ObjectShape& shape = program->objects[static_cast<size_t>(node.index)];
      if (place.depth == 0) return kFailExpr;
      for (const ObjectShape::Member& member : shape.members) {
        if (member.required && program->heights[static_cast<size_t>(member.rule)] > place.depth - 1)
          return kFailExpr;
      }
      const size_t words = (shape.members.size() + 63) / 64;
      const ExprId members = MakeObject(
          {program, node.index, place.depth - 1, Stage::kFirst, false, std::vector<uint64_t>(words, 0)});
      return Seq(Byte('{'), Seq(Instantiate(program, shape.space, {}), members));
    }
    case GrammarOp::kToken:
      return Intern({Kind::kToken, false, false, node.index, 0, 0, 0});
    case GrammarOp::kAnyToken:
      return Intern({Kind::kAnyToken, false, false, 0, 0, 0, 0});
    case GrammarOp::kExternal: {
      const std::shared_ptr<const GrammarProgram>& import = program->imports[static_cast<size_t>(node.index)];
      return InstantiateRule(import.get(), 0, {kMostDepth, 0});
    }
  }
  return kFailExpr;
}

}  // namespace k2
