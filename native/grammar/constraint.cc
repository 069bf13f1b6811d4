#include "grammar/constraint.h"

#include <algorithm>
#include <new>
#include <string>
#include <system_error>

namespace k2 {
namespace {

// Beyond these the store begins afresh with what its constraints still need.
constexpr size_t kMostExpressions = 200'000;
constexpr size_t kMostTables = 12'000;
constexpr int64_t kMostProgramBytes = int64_t{64} << 20;
constexpr size_t kMostSets = 256;  // of 20 KB each for 163,840 tokens
constexpr size_t kMostInsides = 16;

Status OutOfMemory() {
  return Status(ErrorCode::kOutOfMemory,
                "Expected memory for constrained decoding, got a refusal of the system");
}

}  // namespace

Result<std::shared_ptr<ConstraintStore>> ConstraintStore::Create(TokenBytes tokens, int64_t vocab) {
  int64_t longest = 0;
  bool single[256] = {};
  for (int32_t id = 0; id < tokens.count(); ++id) {
    const auto bytes = tokens.Of(id);
    longest = std::max(longest, static_cast<int64_t>(bytes.size()));
    if (bytes.size() == 1) single[bytes[0]] = true;
  }
  const auto present = std::count(single, single + 256, true);
  if (present < 256 || longest > 0xffff || tokens.count() > vocab) {
    return Status(ErrorCode::kInvalidCheckpoint,
                  "Expected a vocabulary with all single bytes for constrained decoding, got one with " +
                      std::to_string(present) + " of 256");
  }
  std::shared_ptr<ConstraintStore> store(new ConstraintStore(std::move(tokens), vocab, longest));
  try {
    store->thread_ = std::thread([raw = store.get()] { raw->ThreadMain(); });
  } catch (const std::system_error&) {
    // Without a thread the sets are computed by whoever asks for them.
  }
  return store;
}

ConstraintStore::ConstraintStore(TokenBytes tokens, int64_t vocab, int64_t longest)
    : tokens_(std::move(tokens)),
      vocab_(vocab),
      clip_(longest + 1),
      expressions_(std::make_unique<Expressions>(clip_)),
      path_(static_cast<size_t>(longest) + 1) {}

ConstraintStore::~ConstraintStore() {
  {
    std::lock_guard lock(mutex_);
    is_stopping_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

Result<std::shared_ptr<Constraint>> ConstraintStore::Begin(std::shared_ptr<const GrammarProgram> program,
                                                           int32_t index) {
  std::lock_guard lock(mutex_);
  try {
    const ExprId start = expressions_->Start(program, index);
    std::shared_ptr<Constraint> constraint(new Constraint(shared_from_this(), std::move(program), start));
    live_.insert(constraint.get());
    if (constraint->program_->has_text && trie_.nodes.empty()) {
      wants_trie_ = true;
      wake_.notify_one();
    }
    Request(*constraint);
    return constraint;
  } catch (const std::bad_alloc&) {
    return OutOfMemory();
  }
}

int64_t ConstraintStore::computed_sets() {
  std::lock_guard lock(mutex_);
  return computed_sets_;
}

void ConstraintStore::ThreadMain() {
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [this] { return is_stopping_ || wants_trie_ || !queue_.empty(); });
    if (is_stopping_) return;
    if (wants_trie_) {
      wants_trie_ = false;
      BuildTrie(lock);
      continue;
    }
    Constraint* next = queue_.front();
    queue_.pop_front();
    Serve(*next);
  }
}

// A tenth of a second for Kimi's vocabulary, while which free text goes on.
void ConstraintStore::BuildTrie(std::unique_lock<std::mutex>& lock) {
  if (!trie_.nodes.empty()) return;
  lock.unlock();
  TokenTrie trie;
  try {
    trie = TokenTrie::Build(tokens_);
  } catch (const std::bad_alloc&) {
    // Whoever needs it tries again, and can say so.
  }
  lock.lock();
  if (trie_.nodes.empty()) trie_ = std::move(trie);
}

void ConstraintStore::Request(Constraint& constraint) {
  constraint.allowed_.reset();
  constraint.is_waiting_ = true;
  // A set that is known costs less than waking a thread.
  const ExprId expr = expressions_->Clip(constraint.expr_);
  if (const auto known = sets_.find(expr); known != sets_.end()) {
    constraint.allowed_ = known->second;
    constraint.is_waiting_ = false;
  } else if (thread_.joinable()) {
    queue_.push_back(&constraint);
    wake_.notify_one();
  }
}

void ConstraintStore::Serve(Constraint& constraint) {
  try {
    constraint.allowed_ = SetOf(constraint.expr_);
    if (IsTooLarge()) Shrink();
  } catch (const std::bad_alloc&) {
    constraint.status_ = OutOfMemory();
  }
  constraint.is_waiting_ = false;
}

bool ConstraintStore::IsTooLarge() const {
  return expressions_->size() > kMostExpressions + needed_expressions_ ||
         expressions_->tables() > kMostTables ||
         expressions_->program_bytes() > kMostProgramBytes + needed_program_bytes_;
}

std::shared_ptr<const TokenSet> ConstraintStore::SetOf(ExprId expr) {
  const ExprId clipped = expressions_->Clip(expr);
  if (const auto known = sets_.find(clipped); known != sets_.end()) return known->second;
  auto set = std::make_shared<const TokenSet>(Compute(clipped));
  ++computed_sets_;
  if (sets_.size() >= kMostSets) sets_.erase(sets_.begin());
  sets_.emplace(clipped, set);
  return set;
}

TokenSet ConstraintStore::Compute(ExprId expr) {
  TokenSet set;
  set.bits.assign(static_cast<size_t>((vocab_ + 31) / 32), 0);
  if (expressions_->Derive(expr, kAnyTokenSymbol) != kFailExpr) {
    for (int32_t id = 0; id < tokens_.count(); ++id)
      set.bits[static_cast<size_t>(id) >> 5] |= 1u << (id & 31);
  } else {
    if (trie_.nodes.empty()) trie_ = TokenTrie::Build(tokens_);
    ExprId head, rest;
    if (expressions_->SplitRepeat(expr, &head, &rest)) {
      WalkString(expr, head, rest, set);
    } else {
      path_[0] = expr;
      Walk(0, trie_.nodes.size(), set);
    }
  }
  for (int32_t id = tokens_.count(); id < vocab_; ++id) {
    if (expressions_->Derive(expr, TokenSymbol(id)) != kFailExpr)
      set.bits[static_cast<size_t>(id) >> 5] |= 1u << (id & 31);
  }
  for (uint32_t word : set.bits) set.count += __builtin_popcount(word);
  return set;
}

void ConstraintStore::Walk(size_t first, size_t end, TokenSet& set) {
  const auto& nodes = trie_.nodes;
  for (size_t i = first; i < end;) {
    const TokenTrie::Node& node = nodes[i];
    const ExprId next = expressions_->Next(path_[node.depth], node.byte);
    if (next == kFailExpr) {
      i += static_cast<size_t>(node.skip);
      continue;
    }
    path_[static_cast<size_t>(node.depth) + 1] = next;
    if (node.token >= 0) set.bits[static_cast<size_t>(node.token) >> 5] |= 1u << (node.token & 31);
    ++i;
  }
}

// A walk over all tokens takes milliseconds; the ends of strings are few.
void ConstraintStore::WalkString(ExprId expr, ExprId head, ExprId rest, TokenSet& set) {
  int byte = -1, count = 0;
  for (int candidate = 0; candidate < 256; ++candidate) {
    if (expressions_->Next(rest, static_cast<uint8_t>(candidate)) == kFailExpr) continue;
    byte = candidate;
    ++count;
  }
  if (count != 1 || expressions_->Nullable(rest)) {
    path_[0] = expr;
    return Walk(0, trie_.nodes.size(), set);
  }
  const Inside& inside = InsideOf(head, static_cast<uint8_t>(byte));
  set.bits = inside.set.bits;
  for (size_t exit : inside.exits) {
    const TokenTrie::Node& node = trie_.nodes[exit];
    path_[node.depth] = rest;
    Walk(exit, exit + static_cast<size_t>(node.skip), set);
  }
}

const ConstraintStore::Inside& ConstraintStore::InsideOf(ExprId head, uint8_t byte) {
  for (const Inside& known : insides_) {
    if (known.head == head && known.byte == byte) return known;
  }
  Inside inside{head, byte, {}, {}};
  inside.set.bits.assign(static_cast<size_t>((vocab_ + 31) / 32), 0);
  path_[0] = head;
  const auto& nodes = trie_.nodes;
  for (size_t i = 0; i < nodes.size();) {
    const TokenTrie::Node& node = nodes[i];
    const ExprId before = path_[node.depth];
    if (node.byte == byte && expressions_->Nullable(before)) inside.exits.push_back(i);
    const ExprId next = expressions_->Next(before, node.byte);
    if (next == kFailExpr) {
      i += static_cast<size_t>(node.skip);
      continue;
    }
    path_[static_cast<size_t>(node.depth) + 1] = next;
    if (node.token >= 0) inside.set.bits[static_cast<size_t>(node.token) >> 5] |= 1u << (node.token & 31);
    ++i;
  }
  if (insides_.size() >= kMostInsides) insides_.pop_front();
  insides_.push_back(std::move(inside));
  return insides_.back();
}

// Behind a token: as the one ordinary token that a free place takes, or byte by byte.
ExprId ConstraintStore::Follow(ExprId expr, int32_t token) {
  if (token >= tokens_.count()) return expressions_->Derive(expr, TokenSymbol(token));
  const ExprId free = expressions_->Derive(expr, kAnyTokenSymbol);
  if (free != kFailExpr) return free;
  for (uint8_t byte : tokens_.Of(token)) expr = expressions_->Next(expr, byte);
  return expr;
}

void ConstraintStore::Shrink() {
  auto fresh = std::make_unique<Expressions>(clip_);
  std::vector<std::pair<Constraint*, ExprId>> moved;
  for (Constraint* constraint : live_)
    moved.emplace_back(constraint, fresh->Import(*expressions_, constraint->expr_, constraint->program_));
  for (const auto& [constraint, expr] : moved) constraint->expr_ = expr;
  sets_.clear();
  insides_.clear();
  expressions_ = std::move(fresh);
  needed_expressions_ = expressions_->size();
  needed_program_bytes_ = expressions_->program_bytes();
}

Constraint::~Constraint() {
  std::lock_guard lock(store_->mutex_);
  store_->live_.erase(this);
  std::erase(store_->queue_, this);
}

Result<std::shared_ptr<const TokenSet>> Constraint::Allowed() {
  std::lock_guard lock(store_->mutex_);
  if (is_waiting_) {
    // The store's thread has not come to it, and the engine has nothing better to do.
    std::erase(store_->queue_, this);
    store_->Serve(*this);
  }
  if (!status_.ok()) return status_;
  return allowed_;
}

bool Constraint::IsComplete() {
  std::lock_guard lock(store_->mutex_);
  return store_->expressions_->Nullable(expr_);
}

Status Constraint::Advance(int32_t token) {
  std::lock_guard lock(store_->mutex_);
  try {
    expr_ = store_->Follow(expr_, token);
    if (expr_ == kFailExpr) {
      return Status(ErrorCode::kInternal,
                    "Expected a token that the grammar allows, got token " + std::to_string(token));
    }
    store_->Request(*this);
  } catch (const std::bad_alloc&) {
    return OutOfMemory();
  }
  return {};
}

}  // namespace k2
