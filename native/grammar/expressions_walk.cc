// What becomes of expressions: they are expanded when a text reaches them, derived by its symbols, clipped to
// what the next token can see, and copied into a fresh store. Objects stand in a file of their own.
#include <algorithm>

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
    case Kind::kNewKey:
      return DeriveNewKey(expr, symbol);
  }
  return kFailExpr;
}

ExprId Expressions::DeriveSeq(const Expr& expr, int32_t symbol) {
  const ExprId head = Derive(expr.a, symbol);
  const ExprId through = head == kFailExpr ? kFailExpr : Seq(head, expr.b);
  if (!Nullable(expr.a)) return through;
  return Alt({through, Derive(expr.b, symbol)});
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

bool Expressions::SplitRepeat(ExprId expr, ExprId* head, ExprId* rest) const {
  const Expr& seq = exprs_[static_cast<size_t>(expr)];
  if (seq.kind != Kind::kSeq || exprs_[static_cast<size_t>(seq.a)].kind != Kind::kRepeat) return false;
  *head = seq.a;
  *rest = seq.b;
  return true;
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
  } else if (last.kind == Kind::kNewKey) {
    tail = Clip(ClipNewKey(last));
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
        const int32_t same = KeysOf(*tree.shape, tree.others);
        result = Key(same, static_cast<int32_t>(expr.lo), ImportSpine(from, expr.b, done));
        break;
      }
      case Kind::kNewKey: {
        const Expr object =
            exprs_[static_cast<size_t>(MakeObject(from.objects_[static_cast<size_t>(expr.a)]))];
        const int32_t text = TextOf(from.texts_[static_cast<size_t>(expr.lo)]);
        result = NewKey(object.a, text, ImportSpine(from, expr.b, done));
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
