#include "gpu/emulator.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <memory>
#include <numeric>

#include "gpu/fibers.h"

namespace k2::emulator {
namespace {

constexpr uint32_t kLanes = 32;

std::string Describe(const std::source_location& where) {
  const std::string file = where.file_name();
  return file.substr(file.rfind('/') + 1) + ":" + std::to_string(where.line());
}

bool IsSamePlace(const std::source_location& a, const std::source_location& b) {
  return a.line() == b.line() && a.column() == b.column() && std::strcmp(a.file_name(), b.file_name()) == 0;
}

// A point where a number of threads wait for each other. Two take turns, since a thread may come to the next
// one before all others have left the last.
struct Meeting {
  uint32_t arrived = 0;
  SimdOp op = SimdOp::kBarrier;
  std::source_location where;
  uint32_t bits[kLanes];
  uint32_t result = 0;
};

uint32_t Combine(const Meeting& m) {
  uint32_t bits[kLanes];
  std::copy(std::begin(m.bits), std::end(m.bits), bits);
  // A tree, as hardware adds.
  for (uint32_t step = 1; step < kLanes; step *= 2) {
    for (uint32_t i = 0; i < kLanes; i += 2 * step) {
      const uint32_t a = bits[i], b = bits[i + step];
      const float x = std::bit_cast<float>(a), y = std::bit_cast<float>(b);
      switch (m.op) {
        case SimdOp::kSum:
          bits[i] = std::bit_cast<uint32_t>(x + y);
          break;
        case SimdOp::kMaxFloat:
          bits[i] = std::bit_cast<uint32_t>(std::fmax(x, y));
          break;
        case SimdOp::kMax:
          bits[i] = std::max(a, b);
          break;
        case SimdOp::kMin:
          bits[i] = std::min(a, b);
          break;
        case SimdOp::kShuffle:
        case SimdOp::kBarrier:
          break;
      }
    }
  }
  return bits[0];
}

class Threadgroup;

struct Thread {
  Threadgroup* group;
  Position position;
  std::unique_ptr<Fiber> fiber;
  bool is_done;
  uint32_t arrays;         // of the threadgroup's memory, asked for so far
  uint32_t lane_meetings;  // been to
};

// The threads of the threadgroup that runs now. Threads that stand idle after a fault are never resumed, so
// their stacks are made anew.
class Threadgroup {
 public:
  std::string Run(const Launch& launch, const uint32_t (&group)[3], uint64_t seed);

  uint32_t MeetLanes(SimdOp op, uint32_t bits, uint32_t source, const std::source_location& where);
  void MeetThreads(const std::source_location& where);
  void* Array(size_t bytes);

 private:
  struct Lanes {
    Meeting meetings[2];
    std::vector<Thread*> waiting;
  };

  static void ThreadMain(void* thread);
  void Wait() { running_->fiber->Yield(); }
  uint64_t Draw() {
    random_ ^= random_ << 13;
    random_ ^= random_ >> 7;
    random_ ^= random_ << 17;
    return random_;
  }

  const Launch* launch_ = nullptr;
  std::vector<std::unique_ptr<Thread>> threads_;
  std::vector<Thread*> ready_;
  Thread* running_ = nullptr;
  std::vector<Lanes> lanes_;
  std::vector<Thread*> at_barrier_;
  std::source_location barrier_where_;
  std::vector<std::vector<uint8_t>> arrays_;
  std::string
      fault_;  // set from inside of a thread, which then waits for good: nothing may be left on its stack
  uint64_t random_ = 1;
};

Threadgroup* current = nullptr;

void Threadgroup::ThreadMain(void* thread) {
  Thread& self = *static_cast<Thread*>(thread);
  for (;;) {
    self.group->launch_->kernel->body(self.group->launch_->arguments, self.position);
    self.is_done = true;
    self.group->Wait();
  }
}

std::string Threadgroup::Run(const Launch& launch, const uint32_t (&group)[3], uint64_t seed) {
  launch_ = &launch;
  random_ = seed * 0x9e3779b97f4a7c15u | 1;
  fault_.clear();
  at_barrier_.clear();
  arrays_.clear();  // each threadgroup starts with memory that nobody wrote
  lanes_.assign(launch.threads / kLanes, {});
  ready_.clear();
  for (uint32_t i = 0; i < launch.threads; ++i) {
    if (i == threads_.size()) threads_.push_back(std::make_unique<Thread>());
    Thread& thread = *threads_[i];
    if (thread.fiber == nullptr) thread.fiber = std::make_unique<Fiber>(ThreadMain, &thread);
    thread.group = this;
    thread.position = {{group[0], group[1], group[2]}, i, i % kLanes, i / kLanes};
    thread.is_done = false;
    thread.arrays = thread.lane_meetings = 0;
    ready_.push_back(&thread);
  }
  while (!ready_.empty() && fault_.empty()) {
    std::swap(ready_[Draw() % ready_.size()], ready_.back());
    running_ = ready_.back();
    ready_.pop_back();
    running_->fiber->Resume();
  }
  const auto is_waiting = [](const std::unique_ptr<Thread>& thread) { return !thread->is_done; };
  const auto end = threads_.begin() + launch.threads;
  const auto waiting = std::count_if(threads_.begin(), end, is_waiting);
  if (waiting == 0) return {};
  if (fault_.empty()) {
    std::source_location where = barrier_where_;
    for (const Lanes& lanes : lanes_) {
      for (const Meeting& meeting : lanes.meetings) where = meeting.arrived > 0 ? meeting.where : where;
    }
    fault_ = std::to_string(waiting) + " of " + std::to_string(launch.threads) + " threads wait at " +
             Describe(where) + " for others that never come";
  }
  threads_.clear();
  return fault_;
}

uint32_t Threadgroup::MeetLanes(SimdOp op, uint32_t bits, uint32_t source,
                                const std::source_location& where) {
  Thread& self = *running_;
  Lanes& lanes = lanes_[self.position.simdgroup];
  Meeting& meeting = lanes.meetings[self.lane_meetings++ % 2];
  if (meeting.arrived == 0) {
    meeting.op = op;
    meeting.where = where;
  } else if (meeting.op != op || !IsSamePlace(meeting.where, where)) {
    fault_ = "lanes of a simdgroup meet at " + Describe(meeting.where) + " and at " + Describe(where);
    Wait();
  }
  if (op == SimdOp::kShuffle && source >= kLanes) {
    fault_ = "lane " + std::to_string(source) + " is asked for at " + Describe(where);
    Wait();
  }
  meeting.bits[self.position.lane] = bits;
  if (++meeting.arrived < kLanes) {
    lanes.waiting.push_back(&self);
    Wait();
  } else {
    if (op == SimdOp::kSum || op == SimdOp::kMaxFloat || op == SimdOp::kMax || op == SimdOp::kMin) {
      meeting.result = Combine(meeting);
    }
    meeting.arrived = 0;
    ready_.insert(ready_.end(), lanes.waiting.begin(), lanes.waiting.end());
    lanes.waiting.clear();
  }
  return op == SimdOp::kShuffle ? meeting.bits[source] : meeting.result;
}

void Threadgroup::MeetThreads(const std::source_location& where) {
  if (at_barrier_.empty()) {
    barrier_where_ = where;
  } else if (!IsSamePlace(barrier_where_, where)) {
    fault_ = "threads meet at the barriers of " + Describe(barrier_where_) + " and " + Describe(where);
    Wait();
  }
  at_barrier_.push_back(running_);
  if (at_barrier_.size() < launch_->threads) return Wait();
  at_barrier_.pop_back();
  ready_.insert(ready_.end(), at_barrier_.begin(), at_barrier_.end());
  at_barrier_.clear();
}

void* Threadgroup::Array(size_t bytes) {
  const uint32_t index = running_->arrays++;
  // Not a number, whatever it is read as: nobody wrote it yet.
  if (index == arrays_.size()) arrays_.emplace_back(bytes, uint8_t{0xff});
  if (arrays_[index].size() != bytes) {
    fault_ = "threads ask for different arrays of the threadgroup";
    Wait();
  }
  return arrays_[index].data();
}

}  // namespace

std::vector<Kernel>& Kernels() {
  static std::vector<Kernel> kernels;
  return kernels;
}

const Kernel* FindKernel(const std::string& name) {
  for (const Kernel& kernel : Kernels()) {
    if (kernel.name == name) return &kernel;
  }
  return nullptr;
}

std::string Run(const Launch& launch) {
  static Threadgroup threadgroup;
  if (launch.threads == 0 || launch.threads % kLanes != 0 || launch.threads > 1024) {
    return launch.kernel->name + ": " + std::to_string(launch.threads) + " threads in a threadgroup";
  }
  current = &threadgroup;
  const uint64_t groups = uint64_t{launch.groups[0]} * launch.groups[1] * launch.groups[2];
  // A drawn order: each threadgroup is followed by one that lies `step` further on.
  uint64_t step = groups == 0 ? 1 : launch.seed * 2654435761u % groups | 1;
  while (groups > 1 && std::gcd(step, groups) != 1) ++step;
  uint64_t index = launch.seed;
  for (uint64_t i = 0; i < groups; ++i, index += step) {
    const uint64_t g = index % groups;
    const uint32_t group[3] = {static_cast<uint32_t>(g % launch.groups[0]),
                               static_cast<uint32_t>(g / launch.groups[0] % launch.groups[1]),
                               static_cast<uint32_t>(g / launch.groups[0] / launch.groups[1])};
    const std::string fault = threadgroup.Run(launch, group, launch.seed + g + 1);
    if (!fault.empty()) return launch.kernel->name + ": " + fault;
  }
  return {};
}

ReadCounts* ReadCounts::current = nullptr;

ReadCounts::ReadCounts() { current = this; }
ReadCounts::~ReadCounts() { current = nullptr; }

void ReadCounts::Watch(const void* data, size_t bytes) {
  ranges_.push_back({static_cast<const uint8_t*>(data), std::vector<uint16_t>(bytes)});
}

void ReadCounts::Count(const uint8_t* at, size_t bytes) {
  for (Range& range : ranges_) {
    if (at < range.data || at >= range.data + range.times.size()) continue;
    for (size_t i = 0; i < bytes; ++i) ++range.times[static_cast<size_t>(at - range.data) + i];
    watched_bytes_ += bytes;
    return;
  }
  other_bytes_ += bytes;
}

int64_t ReadCounts::Times(const void* data) const {
  for (const Range& range : ranges_) {
    if (range.data != data || range.times.empty()) continue;
    const auto is_first = [&](uint16_t times) { return times == range.times.front(); };
    return std::all_of(range.times.begin(), range.times.end(), is_first) ? range.times.front() : -1;
  }
  return -1;
}

uint32_t MeetLanes(SimdOp op, uint32_t bits, uint32_t source, const std::source_location& where) {
  return current->MeetLanes(op, bits, source, where);
}
void MeetThreads(const std::source_location& where) { current->MeetThreads(where); }
void* ThreadgroupArray(size_t bytes) { return current->Array(bytes); }

}  // namespace k2::emulator
