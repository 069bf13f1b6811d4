#include "model/expert_store.h"

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

namespace k2 {
namespace {

// How far reading runs ahead of computing, in experts: enough for the disk never to be idle, and not more,
// since each takes the place of an expert that may be of use.
constexpr size_t kMostAhead = 8;
constexpr auto kAskAgainAfter = std::chrono::milliseconds(5);

constexpr uint64_t kBlock = DirectFile::kBlockBytes;

}  // namespace

std::vector<ExpertStore::Layer> ExpertStore::LayOut(const ModelSpec& spec, const Weights& weights) {
  std::vector<Layer> layers(weights.layers.size());
  int64_t moe_layers = 0;
  for (size_t l = 0; l < layers.size(); ++l) {
    Layer& layer = layers[l];
    if (!weights.layers[l].moe) continue;
    layer.moe_index = moe_layers++;
    layer.matrices = weights.layers[l].expert_weights;
    for (size_t e = 0; e < static_cast<size_t>(spec.experts); ++e) {
      Weight* const matrices = &layer.matrices[3 * e];
      layer.views.push_back({&matrices[0], &matrices[1], &matrices[2]});
      layer.layouts.push_back(LayOutExpert(weights, {matrices, 3}));
    }
  }
  return layers;
}

Result<std::unique_ptr<ExpertStore>> ExpertStore::Create(const ModelSpec& spec, const Weights& weights,
                                                         int64_t memory_bytes, ExpertCounters* counters) {
  const int64_t experts = spec.MoeLayers() * spec.experts;
  if (experts == 0) {
    return Status(ErrorCode::kInvalidArgument,
                  "Expected a model with routed experts for expertMemory, got one without");
  }
  std::vector<Layer> layers = LayOut(spec, weights);
  uint64_t slot_bytes = 0;
  for (const Layer& layer : layers) {
    for (const ExpertLayout& layout : layer.layouts) slot_bytes = std::max(slot_bytes, layout.bytes);
  }
  // Slots begin at a block, the memory that we get does not.
  const int64_t least_bytes = spec.chosen * static_cast<int64_t>(slot_bytes) + static_cast<int64_t>(kBlock);
  if (memory_bytes < least_bytes) {
    return Status(ErrorCode::kInvalidArgument,
                  "Expected at least " + std::to_string(least_bytes) +
                      " bytes, the experts of one token, for expertMemory, got " +
                      std::to_string(memory_bytes));
  }
  const int64_t slots =
      std::min(experts, (memory_bytes - static_cast<int64_t>(kBlock)) / static_cast<int64_t>(slot_bytes));
  std::vector<DirectFile> files;
  for (const MappedFile& mapped : weights.files) {
    Result<DirectFile> file = DirectFile::Open(mapped.path());
    if (!file.ok()) return file.status();
    files.push_back(std::move(file.value()));
  }
  Result<AlignedBuffer> memory =
      AlignedBuffer::Allocate(static_cast<size_t>(slots) * slot_bytes + kBlock, "experts");
  if (!memory.ok()) return memory.status();

  std::unique_ptr<ExpertStore> store(new ExpertStore(spec, std::move(layers), slots, counters));
  store->memory_ = std::move(memory.value());
  const uintptr_t begin = reinterpret_cast<uintptr_t>(store->memory_.data());
  store->first_slot_ = store->memory_.data() + (kBlock - begin % kBlock) % kBlock;
  store->slot_bytes_ = slot_bytes;
  store->is_ready_.resize(static_cast<size_t>(slots));
  store->is_miss_.resize(static_cast<size_t>(slots));
  store->needed_.reserve(static_cast<size_t>(spec.experts));
  store->is_wanted_.resize(static_cast<size_t>(spec.experts));
  store->reader_ = std::make_unique<ExpertReader>(
      std::move(files), slots, store->mutex_,
      [store = store.get()](int32_t slot, int result, int32_t file) { store->ReadDone(slot, result, file); });
  K2_RETURN_IF_ERROR(store->reader_->Start());
  counters->memory_bytes.store(static_cast<int64_t>(store->memory_.size()));
  return store;
}

void ExpertStore::Begin(int64_t layer, std::span<const int32_t> ids, int64_t least) {
  std::lock_guard lock(mutex_);
  EndVisit();
  layer_ = layer;
  const Layer& visited = layers_[static_cast<size_t>(layer)];
  // Sorting in place would need room for every use; a mark for each expert does not.
  const size_t experts = visited.views.size();
  is_wanted_.assign(experts, 0);
  for (const int32_t id : ids) is_wanted_[static_cast<size_t>(id)] = 1;
  for (size_t e = 0; e < experts; ++e) {
    if (is_wanted_[e]) needed_.push_back(static_cast<int32_t>(e));
  }
  for (int32_t slot = 0; slot < static_cast<int32_t>(slots_.size()); ++slot) {
    const ExpertSlots::Slot& guess = slots_.slot(slot);
    if (!guess.is_guess || guess.layer != visited.moe_index) continue;
    if (is_wanted_[static_cast<size_t>(guess.expert)]) {
      ++counters_->used_guesses;
    } else if (!is_ready_[static_cast<size_t>(slot)] && reader_->Cancel(slot)) {
      slots_.Release(slot);
      slots_.Drop(slot);
    }
  }
  slots_.Visit(visited.moe_index, needed_);
  least_ = static_cast<size_t>(std::clamp<int64_t>(least, 1, std::max<int64_t>(1, slots_.size() / 2)));
  Admit();
}

int32_t ExpertStore::SlotOf(int32_t expert) const {
  return slots_.Find(layers_[static_cast<size_t>(layer_)].moe_index, expert);
}

// Gives slots to what the visit needs next, in the order in which it is computed.
void ExpertStore::Admit() {
  const size_t end = std::min(needed_.size(), next_ + least_ + kMostAhead);
  for (; admitted_ < end; ++admitted_) {
    const int32_t expert = needed_[admitted_];
    if (const int32_t slot = SlotOf(expert); slot != ExpertSlots::kNone) {
      if (!is_ready_[static_cast<size_t>(slot)]) reader_->Promote(slot);
      continue;
    }
    const int32_t slot = slots_.Take(layers_[static_cast<size_t>(layer_)].moe_index, expert, false);
    if (slot == ExpertSlots::kNone) return;
    StartReading(slot, layer_, expert, false);
  }
}

void ExpertStore::StartReading(int32_t slot, int64_t layer, int32_t expert, bool is_guess) {
  Layer& l = layers_[static_cast<size_t>(layer)];
  const ExpertLayout& layout = l.layouts[static_cast<size_t>(expert)];
  uint8_t* const memory = first_slot_ + static_cast<uint64_t>(slot) * slot_bytes_;
  for (size_t i = 0; i < layout.places.size(); ++i) {
    Weight& w = l.matrices[3 * static_cast<size_t>(expert) + i];
    w.data = memory + layout.places[i].data;
    if (w.scales != nullptr) w.scales = memory + layout.places[i].scales;
  }
  is_ready_[static_cast<size_t>(slot)] = 0;
  is_miss_[static_cast<size_t>(slot)] = !is_guess;
  slots_.Hold(slot);
  reader_->Queue(slot, layout.extents, memory, is_guess);
}

void ExpertStore::ReadDone(int32_t slot, int result, int32_t file) {
  slots_.Release(slot);
  if (result == 0) {
    is_ready_[static_cast<size_t>(slot)] = 1;
  } else {
    const ExpertSlots::Slot& failed = slots_.slot(slot);
    if (slots_.IsNeeded(failed.layer, failed.expert)) failure_ = {result, file, failed.expert};
    slots_.Drop(slot);
  }
  Publish();
  arrived_.notify_all();
}

// The end of what has arrived without a gap from `first` on.
size_t ExpertStore::ReadyFrom(size_t first) const {
  const size_t most = static_cast<size_t>(std::max<int64_t>(1, slots_.size() / 2));
  const size_t end = std::min(admitted_, first + most);
  while (first < end && is_ready_[static_cast<size_t>(SlotOf(needed_[first]))]) ++first;
  return first;
}

Result<ExpertStore::Round> ExpertStore::Next(const std::function<bool()>& keep_going) {
  const Status aborted(ErrorCode::kAborted, "Expected the step to finish, got an abort");
  bool goes_on = keep_going();
  std::unique_lock lock(mutex_);
  EndRound();
  if (next_ == needed_.size()) {
    EndVisit();
    return Round{};
  }
  const auto start = std::chrono::steady_clock::now();
  bool has_waited = false;
  for (;;) {
    if (!goes_on) {
      EndVisit();
      return aborted;
    }
    if (failure_.result != 0) {
      const Status failed(ErrorCode::kIo, "Expected to read expert " + std::to_string(failure_.expert) +
                                              " of layer " + std::to_string(layer_) + " from " +
                                              reader_->file(failure_.file).path() +
                                              ", got: " + ReadFailure(failure_.result));
      EndVisit();
      return failed;
    }
    Admit();
    const size_t end = ReadyFrom(next_);
    if (end > next_ && end >= std::min(next_ + least_, admitted_)) {
      round_ = next_;
      next_ = end;
      break;
    }
    has_waited = true;
    if (arrived_.wait_for(lock, kAskAgainAfter) != std::cv_status::timeout) continue;
    lock.unlock();
    goes_on = keep_going();
    lock.lock();
  }
  if (has_waited) {
    ++counters_->waits;
    counters_->wait_ns += (std::chrono::steady_clock::now() - start) / std::chrono::nanoseconds(1);
  }
  for (size_t i = round_; i < next_; ++i) {
    const int32_t slot = SlotOf(needed_[i]);
    slots_.Hold(slot);
    ++(is_miss_[static_cast<size_t>(slot)] ? counters_->misses : counters_->hits);
    is_miss_[static_cast<size_t>(slot)] = 0;
  }
  Admit();
  return Round{needed_[round_], needed_[next_ - 1] + 1};
}

void ExpertStore::EndRound() {
  for (; round_ < next_; ++round_) {
    slots_.Release(SlotOf(needed_[round_]));
    slots_.Computed(needed_[round_]);
  }
}

// What nobody has begun to read is not read; what has been begun will be there for the next visit.
void ExpertStore::EndVisit() {
  EndRound();
  for (size_t i = next_; i < needed_.size(); ++i) {
    slots_.Computed(needed_[i]);
    const int32_t slot = SlotOf(needed_[i]);
    if (slot == ExpertSlots::kNone || is_ready_[static_cast<size_t>(slot)] || !reader_->Cancel(slot))
      continue;
    slots_.Release(slot);
    slots_.Drop(slot);
  }
  needed_.clear();
  round_ = next_ = admitted_ = 0;
  failure_ = {};
  Publish();
}

bool ExpertStore::MayGuess(int64_t layer) const {
  std::lock_guard lock(mutex_);
  const Layer& guessed = layers_[static_cast<size_t>(layer)];
  return slots_.count(guessed.moe_index) < static_cast<int64_t>(guessed.views.size());
}

void ExpertStore::Guess(int64_t layer, std::span<const int32_t> ids) {
  std::lock_guard lock(mutex_);
  if (admitted_ < needed_.size()) return;  // the running visit itself wants slots
  const int64_t moe_index = layers_[static_cast<size_t>(layer)].moe_index;
  for (const int32_t expert : ids) {
    if (slots_.Find(moe_index, expert) != ExpertSlots::kNone) continue;
    const int32_t slot = slots_.Take(moe_index, expert, true);
    if (slot == ExpertSlots::kNone) return;
    ++counters_->guesses;
    StartReading(slot, layer, expert, true);
  }
}

void ExpertStore::Publish() {
  counters_->wasted_guesses.store(slots_.wasted_guesses());
  counters_->read_bytes.store(reader_->read_bytes());
  counters_->read_ns.store(reader_->busy_ns());
}

}  // namespace k2
