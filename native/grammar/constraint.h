// Which tokens may come next. A ConstraintStore belongs to one vocabulary and holds what all constraints have
// found out; a Constraint is one grammar at one place of one text. The set of the next tokens is computed on
// a thread of the store's own while the model's forward pass runs, and most sets have been seen before.
#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "grammar/expressions.h"
#include "grammar/token_trie.h"

namespace k2 {

// Tokens that may come next: bit i of word i >> 5 allows token i.
struct TokenSet {
  std::vector<uint32_t> bits;
  int64_t count = 0;

  bool Has(int32_t id) const { return (bits[static_cast<size_t>(id) >> 5] >> (id & 31)) & 1u; }
};

class ConstraintStore;

class Constraint {
 public:
  ~Constraint();
  Constraint(const Constraint&) = delete;
  Constraint& operator=(const Constraint&) = delete;

  // The set for the next token; waits while it is being computed. Empty when the text is complete and nothing
  // may follow. Valid until Advance.
  Result<std::shared_ptr<const TokenSet>> Allowed();
  // Whether the text may end here.
  bool IsComplete();
  // Goes on behind a token of that set and starts computing the next one.
  Status Advance(int32_t token);

 private:
  friend class ConstraintStore;
  Constraint(std::shared_ptr<ConstraintStore> store, std::shared_ptr<const GrammarProgram> program,
             ExprId expr)
      : store_(std::move(store)), program_(std::move(program)), expr_(expr) {}

  const std::shared_ptr<ConstraintStore> store_;
  const std::shared_ptr<const GrammarProgram> program_;
  // Guarded by the store's mutex.
  ExprId expr_;
  bool is_waiting_ = false;  // in the store's queue
  std::shared_ptr<const TokenSet> allowed_;
  Status status_;
};

class ConstraintStore : public std::enable_shared_from_this<ConstraintStore> {
 public:
  // Ids from tokens.count() to vocab - 1 are control tokens. Every single byte must be a token: then no text
  // is ever impossible to go on with. The tree of tokens is built on the store's own thread.
  static Result<std::shared_ptr<ConstraintStore>> Create(TokenBytes tokens, int64_t vocab);
  ~ConstraintStore();

  // A constraint at the beginning of a program's texts, with its first set under way. `index` is where the
  // program's running index begins.
  Result<std::shared_ptr<Constraint>> Begin(std::shared_ptr<const GrammarProgram> program, int32_t index = 0);

  int64_t vocab() const { return vocab_; }
  // Sets that were not known and had to be found, so far.
  int64_t computed_sets();

 private:
  friend class Constraint;
  ConstraintStore(TokenBytes tokens, int64_t vocab, int64_t longest);

  // All with the mutex held.
  void Request(Constraint& constraint);
  void Serve(Constraint& constraint);
  bool IsTooLarge() const;
  std::shared_ptr<const TokenSet> SetOf(ExprId expr);
  TokenSet Compute(ExprId expr);
  // Adds the tokens of the nodes from `first` to `end`, whose parents' expressions are in path_.
  void Walk(size_t first, size_t end, TokenSet& set);
  void WalkString(ExprId expr, ExprId head, ExprId rest, TokenSet& set);
  ExprId Follow(ExprId expr, int32_t token);
  void Shrink();

  void ThreadMain();
  void BuildTrie(std::unique_lock<std::mutex>& lock);

  const TokenBytes tokens_;
  const int64_t vocab_;
  const int64_t clip_;  // one more than the bytes of the longest token

  std::mutex mutex_;
  std::condition_variable wake_;
  TokenTrie trie_;  // without nodes until a program with text has come
  std::unique_ptr<Expressions> expressions_;
  std::unordered_map<ExprId, std::shared_ptr<const TokenSet>> sets_;
  // What all sequences have in common that begin with one repetition and go on with one byte, such as strings
  // whatever follows them: the tokens inside, and the nodes of the tree that leave the repetition by that
  // byte.
  struct Inside {
    ExprId head;
    uint8_t byte;
    TokenSet set;
    std::vector<size_t> exits;
  };
  const Inside& InsideOf(ExprId head, uint8_t byte);
  std::deque<Inside> insides_;
  std::unordered_set<Constraint*> live_;
  std::deque<Constraint*> queue_;
  std::vector<ExprId> path_;  // of a walk: the expression before each depth
  // What was left the last time that the store began afresh.
  size_t needed_expressions_ = 0;
  int64_t needed_program_bytes_ = 0;
  int64_t computed_sets_ = 0;
  bool wants_trie_ = false;
  bool is_stopping_ = false;
  std::thread thread_;
};

}  // namespace k2
