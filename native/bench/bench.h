// One case after the other: its numbers are checked, then it is timed in turn with what bounds it, a read of
// the same memory and arithmetic of the same kind. What counts is the ratio: the machine's other work and its
// moods move both.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "bench/material.h"
#include "bench/options.h"
#include "model/spec.h"
#include "ops/backend.h"

namespace k2::bench {

struct Case {
  std::string name;
  std::string group;      // cases that belong together in tables and charts
  int64_t tokens = 1;     // rows of the call
  int64_t context = 0;    // positions before them
  double bytes = 0;       // that one run must at least read: weights and cached rows
  double operations = 0;  // that it must at least do; a multiply-add counts as two
  bool is_int4 = false;   // whether all of them are with INT4 weights
  // `run` counts up from 0, so that buffers take turns.
  std::function<void(int64_t run)> compute;
  // The memory that the run reads; at most some of it, when it is much.
  std::function<std::vector<MemoryPart>(int64_t run)> reads;
  // Asked after compute(0): what is wrong with its result, or nothing.
  std::function<std::string()> check;
};

// From so many interruptions per second on, a figure says more about the others than about us.
constexpr double kDisturbing = 50;

struct Outcome {
  Case what;            // without its functions
  std::string refusal;  // why there are no figures
  int repetitions = 0;
  Spread seconds;
  Spread fraction;                            // of the limit
  double interruptions = 0;                   // per second: how often others took a processor away meanwhile
  double read_rate = 0, arithmetic_rate = 0;  // limits at the same time: bytes and operations per second
  std::string bound;                          // "read" or the arithmetic's name
};

class Bench {
 public:
  static Result<std::unique_ptr<Bench>> Create(const Options& options);

  // Whether the filter takes a case of that name. A case is built only then.
  bool Wants(const std::string& name);
  void Run(Case what);
  // For a case that could not be built.
  void Refuse(const std::string& name, const std::string& why);

  const Options& options() const { return options_; }
  const ModelSpec& spec() const { return spec_; }
  Backend& backend() { return *backend_; }
  Backend& reference() { return *reference_; }
  Material& material() { return material_; }
  ThreadPool& pool() { return *pool_; }
  const BackendShapes& shapes() const { return shapes_; }
  const std::string& isa() const { return isa_; }
  const std::vector<Outcome>& outcomes() const { return outcomes_; }
  // So many different weights of that size are more than a cache keeps.
  int64_t Variants(int64_t bytes) const;
  int64_t batch_tokens() const { return shapes_.batch_tokens; }

 private:
  Bench(const Options& options, Material material) : options_(options), material_(std::move(material)) {}
  Outcome Time(const Case& what);

  Options options_;
  Material material_;
  ModelSpec spec_;
  BackendShapes shapes_;
  std::string isa_;
  std::unique_ptr<Backend> backend_, reference_;
  std::unique_ptr<ThreadPool> pool_;
  const Arithmetic *arithmetic_ = nullptr, *int4_arithmetic_ = nullptr;
  int int4_products_ = 1;  // of `int4_arithmetic_`, that a multiply-add takes
  std::vector<Outcome> outcomes_;
};

// The shapes of Kimi K2, with one dense and one MoE layer and a small part of the vocabulary.
ModelSpec TrueShapes();
ModelSpec QuickShapes();

// All cases of a kind, each run where the filter wants it.
void RunLinearCases(Bench& bench);
void RunExpertCases(Bench& bench);
void RunAttentionCases(Bench& bench);
void RunRowCases(Bench& bench);
void RunLayerCases(Bench& bench);

}  // namespace k2::bench
