// Copies of routed experts with their rows interleaved (interleave.h), the form that few tokens read fastest.
// The threads that compute with an expert make its copy on the way, the first time that few tokens use it, as
// long as there is memory left; none is given up again, since experts are used about equally often.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>

#include "base/buffer.h"
#include "ops/params.h"

namespace k2 {

class ExpertCopies {
 public:
  struct Copy {
    Weight gate, up, down;
    Expert expert;  // views the three
    bool is_whole = false;
    AlignedBuffer memory;
  };

  // At most so many bytes. The experts' weights must stay where they are.
  explicit ExpertCopies(int64_t most_bytes) : left_bytes_(most_bytes) {}

  // The copy of an expert, whole or still to be made; null where there is none. `make` takes memory for one
  // if there is enough.
  Copy* Find(const Expert& expert, bool make);
  // All blocks have been written: the pages of the checkpoint are not needed any more.
  void Finish(const Expert& expert, Copy& copy) const;

 private:
  Copy* Make(const Expert& expert);

  int64_t left_bytes_;
  std::unordered_map<const uint8_t*, std::unique_ptr<Copy>> copies_;  // by the first byte of `gate`
};

}  // namespace k2
