// What becomes of expressions: they are expanded when a text reaches them, derived by its symbols, clipped to
// what the next token can see, and copied into a fresh store.
#include <algorithm>
#include <bit>

#include "grammar/expressions.h"

namespace k2 {
namespace {

// A table has 256 entries of four bytes; beyond this many, derivatives are computed each time.
constexpr size_t kMostTables = 16384;

}  // namespace

ExprId Expressions::Expand(ExprId expr) {
  if (const ExprId known = expanded_[static_cast<size_t>(expr)]; known >= 0) return known;
  const Expr what = exprs_[static_cast<size_t>(expr)];
  ExprId result;
  if (what.kind == Kind::kRule) {
    const Rule rule = rules_[static_cast<size_t>(what.a)];
    result = Instantiate(rule.program, rule.program->rules[static_cast<size_t>(rule.rule)], rule.place);
  } else {
    result = ExpandObject(ObjectState(objects_[static_cast<size_t>(what.a)]));
  }
  expanded_[static_cast<size_t>(expr)] = result;
  return result;
}

ExprId Expressions::ExpandObject(const ObjectState& state) {
  if (state.stage == Stage::kMember) return Members(state);
  const ObjectShape& shape = state.program->objects[static_cast<size_t>(state.object)];
  int64_t present = state.has_additional ? 1 : 0;
  for (uint64_t word : state.used) present += std::popcount(word);
  bool can_close = present >= shape.min_members;
  for (size_t i = 0; i < shape.members.size() && can_close; ++i) {
    can_close = !shape.members[i].required || (state.used[i / 64] >> (i % 64) & 1);
  }
  ObjectState next = state;
  next.stage = Stage::kMember;
  ExprId more = Members(next);
  if (state.stage == Stage::kAfter && more != kFailExpr) {
    more = Seq(Byte(','), Seq(Instantiate(state.program, shape.space, {}), MakeObject(std::move(next))));
  }
  return can_close ? Alt({Byte('}'), more}) : more;
}

// One more member, and what may follow it.
ExprId Expressions::Members(const ObjectState& state) {
  const GrammarProgram* program = state.program;
  const ObjectShape& shape = program->objects[static_cast<size_t>(state.object)];
  int64_t present = state.has_additional ? 1 : 0, missing = 0;
  for (uint64_t word : state.used) present += std::popcount(word);
  for (size_t i = 0; i < shape.members.size(); ++i) {
    missing += shape.members[i].required && !(state.used[i / 64] >> (i % 64) & 1);
  }
  const int64_t room = shape.max_members < 0 ? missing + 1 : shape.max_members - present;
  const ExprId space = Instantiate(program, shape.space, {});
  const auto member = [&](ExprId key, int32_t rule, ObjectState after) {
    const ExprId value = InstantiateRule(program, rule, {state.depth, 0});
    if (value == kFailExpr) return kFailExpr;
    after.stage = Stage::kAfter;
    const ExprId rest = Seq(value, Seq(space, MakeObject(std::move(after))));
    return Seq(key, Seq(space, Seq(Byte(':'), Seq(space, rest))));
  };
  std::vector<ExprId> choices;
  for (size_t i = 0; i < shape.members.size(); ++i) {
    if (state.used[i / 64] >> (i % 64) & 1) continue;
    if (!shape.members[i].required && room <= missing) continue;
    ObjectState after = state;
    after.used[i / 64] |= uint64_t{1} << (i % 64);
    choices.push_back(member(Literal(&shape.members[i].key, 0), shape.members[i].rule, std::move(after)));
  }
  if (shape.additional >= 0 && room > missing) {
    const ExprId any = Instantiate(program, shape.any_key, {});
    ObjectState after = state;
    after.has_additional = true;
    // With an upper limit undeclared members would have to be counted; one is all that the limit is sure to
    // allow.
    if (shape.max_members < 0 || !state.has_additional) {
      choices.push_back(
          member(Key(KeysOf(program, state.object), 0, any), shape.additional, std::move(after)));
    }
  }
  return Alt(std::move(choices));
}

int32_t Expressions::KeysOf(const GrammarProgram* program, int32_t object) {
  const ObjectShape& shape = program->objects[static_cast<size_t>(object)];
  const auto [entry, is_new] = trees_of_.try_emplace(&shape, static_cast<int32_t>(key_trees_.size()));
  if (!is_new) return entry->second;
  KeyTree tree;
  tree.nodes.emplace_back();
  for (const ObjectShape::Member& member : shape.members) {
    int32_t at = 0;
    for (char byte : member.key) {
      const int32_t fresh = static_cast<int32_t>(tree.nodes.size());
      const auto [next, added] =
          tree.nodes[static_cast<size_t>(at)].next.try_emplace(static_cast<uint8_t>(byte), fresh);
      at = next->second;
      if (added) tree.nodes.emplace_back();
    }
    tree.nodes[static_cast<size_t>(at)].is_end = true;
  }
  key_trees_.push_back(std::move(tree));
  return entry->second;
}

ExprId Expressions::Derive(ExprId id, int32_t symbol) {
  const Expr expr = exprs_[static_cast<size_t>(id)];  // a copy: deriving adds expressions
  switch (expr.kind) {
    case Kind::kFail:
    case Kind::kEmpty:
      return kFailExpr;
    case Kind::kBytes:
      return symbol < 256 && sets_[static_cast<size_t>(expr.a)].Has(symbol) ? kEmptyExpr : kFailExpr;
    case Kind::kLiteral: {
      const std::string* text = literals_[static_cast<size_t>(expr.a)];
      const bool fits = static_cast<uint8_t>((*text)[static_cast<size_t>(expr.b)]) == symbol;
      return fits ? Literal(text, expr.b + 1) : kFailExpr;
    }
    case Kind::kSeq:
      return DeriveSeq(expr, symbol);
    case Kind::kAlt: {
      std::vector<ExprId> choices(Choices(expr).begin(), Choices(expr).end());
      for (ExprId& choice : choices) choice = Derive(choice, symbol);
      return Alt(std::move(choices));
    }
    case Kind::kRepeat: {
      const ExprId first = Derive(expr.a, symbol);
      if (first == kFailExpr) return kFailExpr;
      return Seq(first, Repeat(expr.a, std::max<int64_t>(expr.lo - 1, 0), expr.hi < 0 ? -1 : expr.hi - 1));
    }
    case Kind::kRule:
    case Kind::kObject:
      return Derive(Expand(id), symbol);
    case Kind::kToken:
      return symbol == TokenSymbol(expr.a) ? kEmptyExpr : kFailExpr;
    case Kind::kAnyToken:
      return symbol == kAnyTokenSymbol ? kEmptyExpr : kFailExpr;
    case Kind::kKey:
      return DeriveKey(expr, symbol);
  }
  return kFailExpr;
}

ExprId Expressions::DeriveSeq(const Expr& expr, int32_t symbol) {
  const ExprId head = Derive(expr.a, symbol);
  const ExprId through = head == kFailExpr ? kFailExpr : Seq(head, expr.b);
  if (!Nullable(expr.a)) return through;
  return Alt({through, Derive(expr.b, symbol)});
}

ExprId Expressions::DeriveKey(const Expr& expr, int32_t symbol) {
  const ExprId rest = Derive(expr.b, symbol);
  if (rest == kFailExpr || symbol >= 256) return kFailExpr;
  const KeyTree& tree = key_trees_[static_cast<size_t>(expr.a)];
  const KeyTree::Node& node = tree.nodes[static_cast<size_t>(expr.lo)];
  const auto next = node.next.find(static_cast<uint8_t>(symbol));
  if (next == node.next.end()) return rest;
  if (tree.nodes[static_cast<size_t>(next->second)].is_end) return kFailExpr;
  return Key(expr.a, next->second, rest);
}

ExprId Expressions::Next(ExprId expr, uint8_t byte) {
  ExprId* table = next_[static_cast<size_t>(expr)].get();
  if (table == nullptr) {
    if (table_count_ >= kMostTables) return Derive(expr, byte);
    auto fresh = std::make_unique<ExprId[]>(256);
    std::fill_n(fresh.get(), 256, -1);
    table = fresh.get();
    next_[static_cast<size_t>(expr)] = std::move(fresh);
    ++table_count_;
  }
  if (table[byte] < 0) table[byte] = Derive(expr, byte);
  return table[byte];
}

ExprId Expressions::Clip(ExprId id) {
  if (!exprs_[static_cast<size_t>(id)].is_large) return id;
  if (const auto found = clipped_.find(id); found != clipped_.end()) return found->second;
  // The spine of a sequence may be thousands of containers long: no recursion along it.
  std::vector<ExprId> heads;
  ExprId at = id, tail = kEmptyExpr;
  for (;;) {
    const Expr expr = exprs_[static_cast<size_t>(at)];
    if (expr.kind != Kind::kSeq || !expr.is_large) {
      tail = at;
      break;
    }
    heads.push_back(expr.a);
    at = expr.b;
    if (exprs_[static_cast<size_t>(expr.a)].kind == Kind::kToken) {
      at = tail = kEmptyExpr;
      break;
    }
  }
  const Expr last = exprs_[static_cast<size_t>(tail)];
  if (last.is_large && last.kind == Kind::kAlt) {
    std::vector<ExprId> choices(Choices(last).begin(), Choices(last).end());
    for (ExprId& choice : choices) choice = Clip(choice);
    tail = Alt(std::move(choices));
  } else if (last.is_large && last.kind == Kind::kRepeat) {
    tail = Repeat(Clip(last.a), std::min(last.lo, clip_), last.hi < 0 ? -1 : std::min(last.hi, clip_));
  }
  for (size_t i = heads.size(); i-- > 0;) {
    const ExprId head =
        exprs_[static_cast<size_t>(heads[i])].kind == Kind::kToken ? heads[i] : Clip(heads[i]);
    tail = Seq(head, tail);
  }
  clipped_.emplace(id, tail);
  return tail;
}

ExprId Expressions::Import(const Expressions& from, ExprId expr,
                           std::shared_ptr<const GrammarProgram> program) {
  Keep(std::move(program));
  std::unordered_map<ExprId, ExprId> done;
  return ImportSpine(from, expr, done);
}

ExprId Expressions::ImportSpine(const Expressions& from, ExprId id,
                                std::unordered_map<ExprId, ExprId>& done) {
  std::vector<ExprId> spine;
  while (!done.contains(id) && from.exprs_[static_cast<size_t>(id)].kind == Kind::kSeq) {
    spine.push_back(id);
    id = from.exprs_[static_cast<size_t>(id)].b;
  }
  ExprId result;
  if (const auto found = done.find(id); found != done.end()) {
    result = found->second;
  } else {
    const Expr expr = from.exprs_[static_cast<size_t>(id)];
    switch (expr.kind) {
      case Kind::kBytes:
        result = Bytes(from.sets_[static_cast<size_t>(expr.a)]);
        break;
      case Kind::kLiteral:
        result = Literal(from.literals_[static_cast<size_t>(expr.a)], expr.b);
        break;
      case Kind::kAlt: {
        std::vector<ExprId> choices(from.Choices(expr).begin(), from.Choices(expr).end());
        for (ExprId& choice : choices) choice = ImportSpine(from, choice, done);
        result = Alt(std::move(choices));
        break;
      }
      case Kind::kRepeat:
        result = Repeat(ImportSpine(from, expr.a, done), expr.lo, expr.hi);
        break;
      case Kind::kRule:
        result = MakeRule(from.rules_[static_cast<size_t>(expr.a)]);
        break;
      case Kind::kObject:
        result = MakeObject(from.objects_[static_cast<size_t>(expr.a)]);
        break;
      case Kind::kKey: {
        const KeyTree& tree = from.key_trees_[static_cast<size_t>(expr.a)];
        // Object shapes live in programs, so the same tree is found or made again by its shape.
        int32_t same = -1;
        for (const auto& [shape, index] : from.trees_of_) {
          if (&from.key_trees_[static_cast<size_t>(index)] != &tree) continue;
          const auto [entry, is_new] = trees_of_.try_emplace(shape, static_cast<int32_t>(key_trees_.size()));
          if (is_new) key_trees_.push_back(tree);
          same = entry->second;
        }
        result = Key(same, static_cast<int32_t>(expr.lo), ImportSpine(from, expr.b, done));
        break;
      }
      default:  // fail, empty and tokens hold no references
        result = Intern(expr);
    }
    done.emplace(id, result);
  }
  for (size_t i = spine.size(); i-- > 0;) {
    const ExprId head = from.exprs_[static_cast<size_t>(spine[i])].a;
    result = Seq(ImportSpine(from, head, done), result);
    done.emplace(spine[i], result);
  }
  return result;
}

}  // namespace k2
