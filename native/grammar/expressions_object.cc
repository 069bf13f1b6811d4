// JSON objects as expressions: which member may come next, and when the object may end. Declared members come
// once each, in any order. Undeclared ones have any key that is not declared; where the number of members
// matters their keys are remembered, because two equal keys are one member for whoever reads the text.
#include <algorithm>
#include <bit>

#include "grammar/expressions.h"

namespace k2 {

ExprId Expressions::ExpandObject(const ObjectState& state) {
  if (state.stage == Stage::kMember) return Members(state);
  const ObjectShape& shape = state.program->objects[static_cast<size_t>(state.object)];
  bool can_close = !state.counts || CountMembers(state) >= shape.min_members;
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

int64_t Expressions::CountMembers(const ObjectState& state) {
  int64_t present = static_cast<int64_t>(state.others.size());
  for (uint64_t word : state.used) present += std::popcount(word);
  return present;
}

// One more member, and what may follow it.
ExprId Expressions::Members(const ObjectState& state) {
  const GrammarProgram* program = state.program;
  const ObjectShape& shape = program->objects[static_cast<size_t>(state.object)];
  int64_t missing = 0;
  for (size_t i = 0; i < shape.members.size(); ++i) {
    missing += shape.members[i].required && !(state.used[i / 64] >> (i % 64) & 1);
  }
  // Only required members may take the last places.
  const bool has_room = shape.max_members < 0 || shape.max_members - CountMembers(state) > missing;
  std::vector<ExprId> choices;
  for (size_t i = 0; i < shape.members.size(); ++i) {
    if (state.used[i / 64] >> (i % 64) & 1) continue;
    if (!shape.members[i].required && !has_room) continue;
    ObjectState after = state;
    after.used[i / 64] |= uint64_t{1} << (i % 64);
    const ExprId rest = AfterKey(state, shape.members[i].rule, std::move(after));
    choices.push_back(Seq(Literal(&shape.members[i].key, 0), rest));
  }
  if (shape.additional >= 0 && has_room && !state.sealed) {
    const ExprId any = Instantiate(program, shape.any_key, {});
    const bool matters = shape.max_members >= 0 || CountMembers(state) + 1 < shape.min_members;
    if (state.counts && matters) {
      const bool fits = AfterKey(state, shape.additional, state) != kFailExpr;
      const Expr self = exprs_[static_cast<size_t>(MakeObject(state))];
      if (fits) choices.push_back(NewKey(self.a, TextOf({}), any));
    } else {
      ObjectState after = state;
      after.counts = false;
      after.others.clear();
      const ExprId rest = AfterKey(state, shape.additional, std::move(after));
      choices.push_back(Seq(Key(KeysOf(shape, state.others), 0, any), rest));
    }
  }
  return Alt(std::move(choices));
}

ExprId Expressions::AfterKey(const ObjectState& state, int32_t rule, ObjectState after) {
  const GrammarProgram* program = state.program;
  const ObjectShape& shape = program->objects[static_cast<size_t>(state.object)];
  const ExprId value = InstantiateRule(program, rule, {state.depth, 0});
  if (value == kFailExpr) return kFailExpr;
  after.stage = Stage::kAfter;
  if (shape.max_members < 0 && after.counts && CountMembers(after) >= shape.min_members) {
    after.counts = false;
    after.others.clear();
  }
  const ExprId space = Instantiate(program, shape.space, {});
  const ExprId rest = Seq(value, Seq(space, MakeObject(std::move(after))));
  return Seq(space, Seq(Byte(':'), Seq(space, rest)));
}

ExprId Expressions::AfterNewKey(const ObjectState& state, std::string key) {
  const ObjectShape& shape = state.program->objects[static_cast<size_t>(state.object)];
  ObjectState after = state;
  after.others.insert(std::ranges::lower_bound(after.others, key), std::move(key));
  return AfterKey(state, shape.additional, std::move(after));
}

int32_t Expressions::KeysOf(const ObjectShape& shape, std::span<const std::string> others) {
  const auto [first, last] = trees_of_.equal_range(&shape);
  for (auto entry = first; entry != last; ++entry) {
    if (std::ranges::equal(key_trees_[static_cast<size_t>(entry->second)].others, others))
      return entry->second;
  }
  KeyTree tree{&shape, {others.begin(), others.end()}, {}};
  tree.nodes.emplace_back();
  const auto add = [&tree](const std::string& key) {
    int32_t at = 0;
    for (char byte : key) {
      const int32_t fresh = static_cast<int32_t>(tree.nodes.size());
      const auto [next, added] =
          tree.nodes[static_cast<size_t>(at)].next.try_emplace(static_cast<uint8_t>(byte), fresh);
      at = next->second;
      if (added) tree.nodes.emplace_back();
    }
    tree.nodes[static_cast<size_t>(at)].is_end = true;
  };
  for (const ObjectShape::Member& member : shape.members) add(member.key);
  for (const std::string& key : others) add(key);
  key_trees_.push_back(std::move(tree));
  const int32_t added = static_cast<int32_t>(key_trees_.size()) - 1;
  trees_of_.emplace(&shape, added);
  return added;
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

// Keys end with their quote, so a key whose rest is empty is whole.
ExprId Expressions::DeriveNewKey(const Expr& expr, int32_t symbol) {
  const ExprId rest = Derive(expr.b, symbol);
  if (rest == kFailExpr || symbol >= 256) return kFailExpr;
  std::string text = texts_[static_cast<size_t>(expr.lo)] + static_cast<char>(symbol);
  if (rest != kEmptyExpr) return NewKey(expr.a, TextOf(std::move(text)), rest);
  const ObjectState state = objects_[static_cast<size_t>(expr.a)];
  const auto& members = state.program->objects[static_cast<size_t>(state.object)].members;
  const bool is_declared = std::ranges::find(members, text, &ObjectShape::Member::key) != members.end();
  if (is_declared || std::ranges::binary_search(state.others, text)) return kFailExpr;
  return AfterNewKey(state, std::move(text));
}

// The same next tokens without the text of the key, but for those that reach into a further undeclared key:
// whether that one repeats this one cannot be told. They are left out, and may be written in smaller pieces.
ExprId Expressions::ClipNewKey(const Expr& expr) {
  ObjectState state = objects_[static_cast<size_t>(expr.a)];
  const ObjectShape& shape = state.program->objects[static_cast<size_t>(state.object)];
  const int32_t tree = KeysOf(shape, state.others);
  int32_t node = 0;
  for (char byte : texts_[static_cast<size_t>(expr.lo)]) {
    const auto& next = key_trees_[static_cast<size_t>(tree)].nodes[static_cast<size_t>(node)].next;
    const auto found = next.find(static_cast<uint8_t>(byte));
    node = found == next.end() ? -1 : found->second;
    if (node < 0) break;
  }
  state.sealed = true;
  // Any text that is no key stands for the one that is being written.
  const ExprId rest = AfterNewKey(state, {});
  return Seq(node < 0 ? expr.b : Key(tree, node, expr.b), rest);
}

}  // namespace k2
