#include "cpu/expert_copies.h"

#include "base/mapped_file.h"
#include "cpu/interleave.h"

namespace k2 {

ExpertCopies::Copy* ExpertCopies::Find(const Expert& expert, bool make) {
  if (const auto found = copies_.find(expert.gate->data); found != copies_.end()) return found->second.get();
  return make ? Make(expert) : nullptr;
}

ExpertCopies::Copy* ExpertCopies::Make(const Expert& expert) {
  const int64_t gate = InterleavedBytes(*expert.gate), up = InterleavedBytes(*expert.up);
  const int64_t down = InterleavedBytes(*expert.down), bytes = gate + up + down;
  if (gate == 0 || up == 0 || down == 0 || bytes > left_bytes_) return nullptr;
  auto memory = AlignedBuffer::Allocate(static_cast<size_t>(bytes), "the copy of an expert");
  if (!memory.ok()) {
    left_bytes_ = 0;  // it is not needed: whoever has no copy reads the checkpoint
    return nullptr;
  }
  left_bytes_ -= bytes;
  auto copy = std::make_unique<Copy>();
  copy->memory = std::move(memory.value());
  const uint8_t* const data = copy->memory.data();
  copy->gate = AsInterleaved(*expert.gate, data);
  copy->up = AsInterleaved(*expert.up, data + gate);
  copy->down = AsInterleaved(*expert.down, data + gate + up);
  copy->expert = {&copy->gate, &copy->up, &copy->down};
  return copies_.emplace(expert.gate->data, std::move(copy)).first->second.get();
}

void ExpertCopies::Finish(const Expert& expert, Copy& copy) const {
  copy.is_whole = true;
  for (const Weight* w : {expert.gate, expert.up, expert.down}) {
    if (w->file >= 0) ReleaseMappedPages(w->data, static_cast<size_t>(w->rows * w->row_bytes()));
  }
}

}  // namespace k2
