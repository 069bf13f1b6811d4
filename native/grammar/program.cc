#include "grammar/program.h"

#include <algorithm>

namespace k2 {
namespace {

// Deeper nesting of nodes is refused: expressions are walked recursively.
constexpr int kMostNesting = 500;
constexpr size_t kMostNodes = size_t{1} << 22;

Status Wrong(const char* what) {
  return Status(ErrorCode::kInvalidArgument,
                std::string("Expected ") + what + " for a grammar program, got other data");
}

// Takes the operands of one node after the other and remembers whether one was wrong.
class Operands {
 public:
  explicit Operands(std::span<const double> code) : left_(code) {}

  int64_t Integer(int64_t least, int64_t most) {
    if (left_.empty()) return Bad();
    const double value = left_.front();
    left_ = left_.subspan(1);
    if (!(value >= static_cast<double>(least) && value <= static_cast<double>(most))) return Bad();
    const auto whole = static_cast<int64_t>(value);
    return static_cast<double>(whole) == value ? whole : Bad();
  }

  int32_t Index(int64_t count) { return static_cast<int32_t>(Integer(0, count - 1)); }
  size_t size() const { return left_.size(); }
  bool good() const { return good_; }

 private:
  int64_t Bad() {
    good_ = false;
    return 0;
  }

  std::span<const double> left_;
  bool good_ = true;
};

class Reader {
 public:
  Reader(const GrammarSource& source, int64_t vocab, GrammarProgram& program)
      : source_(source), vocab_(vocab), program_(program) {}

  Status Read() {
    const size_t count = source_.nodes.size();
    if (count == 0 || count > kMostNodes) return Wrong("1..4194304 nodes");
    if (source_.rules.empty() || source_.heights.size() != source_.rules.size())
      return Wrong("rules with heights");
    program_.imports = source_.imports;
    program_.nodes.reserve(count);
    nesting_.reserve(count);
    for (size_t i = 0; i < count; ++i) {
      const size_t start = source_.nodes[i];
      const size_t end = i + 1 < count ? source_.nodes[i + 1] : source_.code.size();
      if (start >= end || end > source_.code.size()) return Wrong("nodes in order");
      if (!ReadNode(static_cast<int32_t>(i), source_.code.subspan(start, end - start)))
        return Wrong("valid operands");
    }
    for (size_t i = 0; i < source_.rules.size(); ++i) {
      if (source_.rules[i] >= count) return Wrong("rules of existing nodes");
      program_.rules.push_back(static_cast<int32_t>(source_.rules[i]));
      program_.heights.push_back(static_cast<int32_t>(std::min<uint32_t>(source_.heights[i], 1u << 20)));
    }
    FindNullable();
    program_.bytes = CountBytes();
    head_depths_.assign(source_.rules.size(), kUnknown);
    for (size_t rule = 0; rule < source_.rules.size(); ++rule) {
      if (RuleHeadDepth(static_cast<int32_t>(rule)) > kMostNesting)
        return Wrong("rules without left recursion");
    }
    return {};
  }

 private:
  bool ReadNode(int32_t id, std::span<const double> code) {
    Operands in(code);
    GrammarNode node;
    node.op = static_cast<GrammarOp>(in.Integer(0, static_cast<int64_t>(GrammarOp::kNext)));
    int nesting = 0;
    const auto child = [&] {
      const int32_t index = in.Index(id);
      if (!in.good()) return;
      program_.children.push_back(index);
      nesting = std::max(nesting, nesting_[static_cast<size_t>(index)]);
      node.has_rules |= program_.nodes[static_cast<size_t>(index)].has_rules;
    };
    const int64_t rules = static_cast<int64_t>(source_.rules.size());
    switch (node.op) {
      case GrammarOp::kFail:
      case GrammarOp::kEmpty:
      case GrammarOp::kAnyToken:
        break;
      case GrammarOp::kBytes:
        node.index = ReadSet(in);
        break;
      case GrammarOp::kLiteral:
        node.text = ReadText(in);
        break;
      case GrammarOp::kSeq:
      case GrammarOp::kAlt:
        node.index = static_cast<int32_t>(program_.children.size());
        node.count = static_cast<int32_t>(in.Integer(0, static_cast<int64_t>(in.size())));
        for (int32_t i = 0; i < node.count && in.good(); ++i) child();
        break;
      case GrammarOp::kRepeat:
        node.index = static_cast<int32_t>(program_.children.size());
        node.count = 1;
        child();
        node.lo = in.Integer(0, int64_t{1} << 53);
        node.hi = in.Integer(-1, int64_t{1} << 53);
        if (node.hi >= 0 && node.hi < node.lo) return false;
        break;
      case GrammarOp::kDeeper:
      case GrammarOp::kNext:
        node.index = static_cast<int32_t>(program_.children.size());
        node.count = 1;
        child();
        node.has_rules = true;
        break;
      case GrammarOp::kIndex:
        node.has_rules = true;
        break;
      case GrammarOp::kRule:
        node.index = in.Index(rules);
        node.has_rules = true;
        break;
      case GrammarOp::kObject:
        node.index = ReadObject(in, id, rules);
        node.has_rules = true;
        break;
      case GrammarOp::kToken:
        node.index = in.Index(vocab_);
        break;
      case GrammarOp::kExternal:
        node.index = in.Index(static_cast<int64_t>(source_.imports.size()));
        break;
    }
    program_.has_text |= node.op == GrammarOp::kBytes || node.op == GrammarOp::kLiteral ||
                         node.op == GrammarOp::kObject || node.op == GrammarOp::kExternal;
    if (!in.good() || in.size() != 0 || nesting >= kMostNesting) return false;
    program_.nodes.push_back(std::move(node));
    nesting_.push_back(nesting + 1);
    return true;
  }

  int32_t ReadSet(Operands& in) {
    ByteSet set;
    for (int word = 0; word < 8; ++word) {
      set.words[word / 2] |= static_cast<uint64_t>(in.Integer(0, 0xffffffff)) << (word % 2 * 32);
    }
    program_.sets.push_back(set);
    return static_cast<int32_t>(program_.sets.size()) - 1;
  }

  std::string ReadText(Operands& in) {
    const int64_t size = static_cast<int64_t>(source_.pool.size());
    const int64_t offset = in.Integer(0, size), length = in.Integer(1, size);
    if (!in.good() || offset + length > size) {
      in.Integer(1, 0);  // an impossible wish: the node is bad
      return {};
    }
    const uint8_t* text = source_.pool.data() + offset;
    return std::string(text, text + length);
  }

  int32_t ReadObject(Operands& in, int32_t id, int64_t rules) {
    ObjectShape object;
    object.space = in.Index(id);
    object.any_key = in.Index(id);
    object.additional = static_cast<int32_t>(in.Integer(-1, rules - 1));
    object.min_members = in.Integer(0, int64_t{1} << 53);
    object.max_members = in.Integer(-1, int64_t{1} << 53);
    const int64_t count = in.Integer(0, static_cast<int64_t>(in.size()));
    for (int64_t i = 0; i < count && in.good(); ++i) {
      std::string key = ReadText(in);
      const int32_t rule = in.Index(rules);
      object.members.push_back({std::move(key), rule, in.Integer(0, 1) != 0});
    }
    program_.objects.push_back(std::move(object));
    return static_cast<int32_t>(program_.objects.size()) - 1;
  }

  // Rules may use one another, so this goes round until nothing changes.
  void FindNullable() {
    for (bool changed = true; changed;) {
      changed = false;
      for (GrammarNode& node : program_.nodes) {
        if (node.nullable || !Nullable(node)) continue;
        node.nullable = true;
        changed = true;
      }
    }
  }

  bool Nullable(const GrammarNode& node) const {
    const auto is_nullable = [this](int32_t id) { return program_.nodes[static_cast<size_t>(id)].nullable; };
    const auto children =
        std::span(program_.children)
            .subspan(node.count == 0 ? 0 : static_cast<size_t>(node.index), static_cast<size_t>(node.count));
    switch (node.op) {
      case GrammarOp::kEmpty:
        return true;
      case GrammarOp::kSeq:
        return std::all_of(children.begin(), children.end(), is_nullable);
      case GrammarOp::kAlt:
        return std::any_of(children.begin(), children.end(), is_nullable);
      case GrammarOp::kRepeat:
        return node.lo == 0 || is_nullable(children[0]);
      case GrammarOp::kDeeper:
      case GrammarOp::kNext:
        return is_nullable(children[0]);
      case GrammarOp::kRule:
        return is_nullable(program_.rules[static_cast<size_t>(node.index)]);
      case GrammarOp::kExternal: {
        const GrammarProgram& import = *program_.imports[static_cast<size_t>(node.index)];
        return import.nodes[static_cast<size_t>(import.rules[0])].nullable;
      }
      default:
        return false;
    }
  }

  int64_t CountBytes() const {
    size_t bytes = program_.nodes.size() * sizeof(GrammarNode) + program_.sets.size() * sizeof(ByteSet);
    bytes += (program_.children.size() + program_.rules.size() + program_.heights.size()) * sizeof(int32_t);
    for (const ObjectShape& object : program_.objects) {
      bytes += sizeof(ObjectShape) + object.members.size() * sizeof(ObjectShape::Member);
    }
    // Texts, once in nodes and once in keys at most.
    return static_cast<int64_t>(bytes + 2 * source_.pool.size());
  }

  // How deep rules and nodes nest before a text's first symbol; beyond the limit for rules that begin with
  // themselves.
  int RuleHeadDepth(int32_t rule) {
    int& depth = head_depths_[static_cast<size_t>(rule)];
    if (depth == kUnknown) {
      depth = kMostNesting + 1;  // what a cycle finds
      const int found = NodeHeadDepth(program_.rules[static_cast<size_t>(rule)]);
      head_depths_[static_cast<size_t>(rule)] = found;
      return found;
    }
    return depth;
  }

  int NodeHeadDepth(int32_t id) {
    const GrammarNode& node = program_.nodes[static_cast<size_t>(id)];
    int deepest = 0;
    if (node.op == GrammarOp::kRule) deepest = RuleHeadDepth(node.index);
    for (int32_t i = 0; i < node.count && deepest <= kMostNesting; ++i) {
      const int32_t child = program_.children[static_cast<size_t>(node.index + i)];
      deepest = std::max(deepest, NodeHeadDepth(child));
      if (node.op == GrammarOp::kSeq && !program_.nodes[static_cast<size_t>(child)].nullable) break;
    }
    return deepest + 1;
  }

  static constexpr int kUnknown = -1;
  const GrammarSource& source_;
  const int64_t vocab_;
  GrammarProgram& program_;
  std::vector<int> nesting_;
  std::vector<int> head_depths_;  // of rules
};

}  // namespace

Result<std::shared_ptr<const GrammarProgram>> GrammarProgram::Read(const GrammarSource& source,
                                                                   int64_t vocab) {
  auto program = std::make_shared<GrammarProgram>();
  K2_RETURN_IF_ERROR(Reader(source, vocab, *program).Read());
  return std::shared_ptr<const GrammarProgram>(std::move(program));
}

}  // namespace k2
