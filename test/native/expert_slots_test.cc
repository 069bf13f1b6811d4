// Which expert gives its place away: against a slow twin that applies the rule to a list of all experts, and
// against the best that is possible when the future is known.
#include "model/expert_slots.h"

#include <algorithm>
#include <limits>
#include <map>
#include <random>
#include <set>

#include "check.h"

namespace k2 {
namespace {

struct Use {
  int64_t layer;
  std::vector<int32_t> experts;  // ascending
};

// Layers in order, pass after pass. Each expert of a pass is, with the chances that were published for a
// model of this kind, one of the pass before (0.36) or of the one before that (0.09), else any.
std::vector<Use> RecencyTrace(int64_t layers, int64_t experts, int64_t chosen, int64_t passes,
                              uint32_t seed) {
  std::mt19937 random(seed);
  const auto uniform = [&] { return static_cast<double>(random()) / 4294967296.0; };
  std::vector<Use> trace;
  for (int64_t pass = 0; pass < passes; ++pass) {
    for (int64_t layer = 0; layer < layers; ++layer) {
      const size_t here = trace.size();
      std::set<int32_t> used;
      while (static_cast<int64_t>(used.size()) < chosen) {
        const double u = uniform();
        const size_t back = u < 0.36 ? 1 : u < 0.45 ? 2 : 0;
        const size_t distance = back * static_cast<size_t>(layers);
        if (back > 0 && here >= distance) {
          const std::vector<int32_t>& before = trace[here - distance].experts;
          used.insert(before[random() % before.size()]);
        } else {
          used.insert(static_cast<int32_t>(random() % static_cast<uint32_t>(experts)));
        }
      }
      trace.push_back({layer, {used.begin(), used.end()}});
    }
  }
  return trace;
}

// Hits of a run in which every expert is computed as soon as it has a slot.
int64_t HitsOf(ExpertSlots& slots, const std::vector<Use>& trace) {
  int64_t hits = 0;
  for (const Use& use : trace) {
    slots.Visit(use.layer, use.experts);
    for (const int32_t expert : use.experts) {
      int32_t slot = slots.Find(use.layer, expert);
      hits += slot != ExpertSlots::kNone;
      if (slot == ExpertSlots::kNone) slot = slots.Take(use.layer, expert, false);
      EXPECT(slot != ExpertSlots::kNone);
      slots.Computed(expert);
    }
  }
  return hits;
}

// Gives away what was used longest ago.
int64_t LeastRecentlyUsedHits(const std::vector<Use>& trace, int64_t capacity) {
  using Key = std::pair<int64_t, int32_t>;
  std::map<Key, int64_t> last_use;
  std::map<int64_t, Key> kept;  // by last use
  int64_t hits = 0, now = 0;
  for (const Use& use : trace) {
    for (const int32_t expert : use.experts) {
      const Key key{use.layer, expert};
      const auto known = last_use.find(key);
      const bool hit = known != last_use.end() && kept.erase(known->second) > 0;
      hits += hit;
      if (!hit && static_cast<int64_t>(kept.size()) == capacity) kept.erase(kept.begin());
      last_use[key] = ++now;
      kept[now] = key;
    }
  }
  return hits;
}

// Gives away what is used again last, which takes knowing the future.
int64_t BestHits(const std::vector<Use>& trace, int64_t capacity) {
  using Key = std::pair<int64_t, int32_t>;
  std::map<Key, std::vector<size_t>> uses;  // places in the sequence of all uses, descending
  size_t place = 0;
  for (const Use& use : trace) {
    for (const int32_t expert : use.experts) uses[{use.layer, expert}].push_back(place++);
  }
  for (auto& [key, places] : uses) std::reverse(places.begin(), places.end());
  std::set<std::pair<size_t, Key>> kept;  // by next use
  int64_t hits = 0;
  place = 0;
  for (const Use& use : trace) {
    for (const int32_t expert : use.experts) {
      const Key key{use.layer, expert};
      std::vector<size_t>& places = uses[key];
      const bool hit = kept.erase({place++, key}) > 0;
      hits += hit;
      places.pop_back();
      const size_t next = places.empty() ? std::numeric_limits<size_t>::max() : places.back();
      if (!hit && static_cast<int64_t>(kept.size()) == capacity) kept.erase(std::prev(kept.end()));
      kept.insert({next, key});
    }
  }
  return hits;
}

TEST(ExpertSlotsFollowTheirRule) {
  constexpr int64_t kLayers = 4, kExperts = 12;
  std::mt19937 random(5);
  for (int round = 0; round < 20; ++round) {
    const int64_t capacity = 3 + random() % 30;
    ExpertSlots slots(kLayers, kExperts, capacity);
    struct Known {
      int64_t visit;
      bool is_guess, is_held;
    };
    std::map<std::pair<int64_t, int32_t>, Known> twin;
    std::vector<int64_t> visits(kLayers);
    int64_t wasted = 0;
    for (int step = 0; step < 200; ++step) {
      const int64_t layer = step % kLayers;
      std::set<int32_t> needed;
      const size_t count = 1 + random() % 5;
      while (needed.size() < count) needed.insert(static_cast<int32_t>(random() % kExperts));
      slots.Visit(layer, std::vector<int32_t>(needed.begin(), needed.end()));
      ++visits[static_cast<size_t>(layer)];
      for (const int32_t expert : needed) {
        const auto known = twin.find({layer, expert});
        if (known != twin.end()) {
          known->second.visit = visits[static_cast<size_t>(layer)];
          known->second.is_guess = false;
        }
      }
      // What the rule gives away for an expert: the last of the order, if it stands behind the expert itself.
      const auto take = [&](int64_t of_layer, int32_t expert, bool is_guess) {
        using Order = std::tuple<int64_t, int64_t>;
        const std::pair<int64_t, int32_t>* gone = nullptr;
        Order last = is_guess ? Order{1, kLayers} : Order{0, expert};
        for (const auto& [key, known] : twin) {
          const auto& [l, e] = key;
          int64_t ahead = l - layer;
          if (ahead <= 0) ahead += kLayers;
          const bool is_needed = l == layer && needed.contains(e);
          const Order order =
              is_needed ? Order{0, e} : Order{visits[static_cast<size_t>(l)] + 1 - known.visit, ahead};
          if (known.is_held || order <= last) continue;
          last = order;
          gone = &key;
        }
        const bool has_room = static_cast<int64_t>(twin.size()) < capacity;
        const int32_t slot = slots.Take(of_layer, expert, is_guess);
        EXPECT((slot != ExpertSlots::kNone) == (has_room || gone != nullptr));
        if (slot == ExpertSlots::kNone) return;
        if (!has_room) {
          // Experts of one rank may be several; any of them will do.
          std::vector<std::pair<int64_t, int32_t>> missing;
          for (const auto& [key, known] : twin) {
            if (slots.Find(key.first, key.second) == ExpertSlots::kNone) missing.push_back(key);
          }
          EXPECT(missing.size() == 1);
          if (missing.size() != 1) return;
          const auto& [l, e] = missing[0];
          const int64_t ahead = l - layer <= 0 ? l - layer + kLayers : l - layer;
          const bool is_needed = l == layer && needed.contains(e);
          EXPECT((is_needed
                      ? Order{0, e}
                      : Order{visits[static_cast<size_t>(l)] + 1 - twin[missing[0]].visit, ahead}) == last);
          wasted += twin[missing[0]].is_guess;
          twin.erase(missing[0]);
        }
        twin[{of_layer, expert}] = {visits[static_cast<size_t>(of_layer)], is_guess, false};
      };
      for (const int32_t expert : std::vector<int32_t>(needed.begin(), needed.end())) {
        if (slots.Find(layer, expert) == ExpertSlots::kNone) take(layer, expert, false);
        const int32_t slot = slots.Find(layer, expert);
        EXPECT(slot != ExpertSlots::kNone);
        if (slot == ExpertSlots::kNone) return;
        EXPECT(slots.slot(slot).layer == layer && slots.slot(slot).expert == expert);
        // While it is computed, another one wants a slot.
        slots.Hold(slot);
        twin[{layer, expert}].is_held = true;
        const int64_t next = (layer + 1) % kLayers;
        const int32_t guess = static_cast<int32_t>(random() % kExperts);
        if (slots.Find(next, guess) == ExpertSlots::kNone) take(next, guess, true);
        slots.Release(slot);
        twin[{layer, expert}].is_held = false;
        slots.Computed(expert);
        needed.erase(expert);
      }
      EXPECT(slots.wasted_guesses() == wasted);
      for (int64_t l = 0; l < kLayers; ++l) {
        int64_t held = 0;
        for (int32_t e = 0; e < kExperts; ++e) {
          const bool found = slots.Find(l, e) != ExpertSlots::kNone;
          EXPECT(found == twin.contains({l, e}));
          held += found;
        }
        EXPECT(slots.count(l) == held);
      }
    }
  }
}

// What is not the pass before or the one before that is drawn evenly, so nothing but the future tells it: the
// least that knowing the past can be worth beside knowing the future. docs/performance.md has the figures.
TEST(ExpertSlotsHitAsRecencyAllows) {
  constexpr int64_t kLayers = 12, kExperts = 384, kChosen = 8;
  const std::vector<Use> trace = RecencyTrace(kLayers, kExperts, kChosen, 400, 7);
  const struct {
    int64_t percent;  // of the experts that memory holds
    double of_best;   // the least that is reached of what knowing the future would
  } cases[] = {{1, 0.44}, {2, 0.71}, {5, 0.77}, {10, 0.74}, {20, 0.73}, {40, 0.78}, {80, 0.93}};
  for (const auto& [percent, of_best] : cases) {
    const int64_t capacity = kLayers * kExperts * percent / 100;
    ExpertSlots slots(kLayers, kExperts, capacity);
    const double hits = static_cast<double>(HitsOf(slots, trace));
    const double best = static_cast<double>(BestHits(trace, capacity));
    const double by_time = static_cast<double>(LeastRecentlyUsedHits(trace, capacity));
    EXPECT(hits <= best && hits >= of_best * best);
    EXPECT(hits >= by_time);
  }
}

// A prefill uses every expert of every layer, pass after pass: the worst case for evicting by time of use,
// which would never hit.
TEST(ExpertSlotsKeepAShareOfAScan) {
  constexpr int64_t kLayers = 5, kExperts = 20, kPasses = 40;
  std::vector<int32_t> all(kExperts);
  for (int32_t e = 0; e < kExperts; ++e) all[static_cast<size_t>(e)] = e;
  std::vector<Use> trace;
  for (int64_t i = 0; i < kLayers * kPasses; ++i) trace.push_back({i % kLayers, all});
  const int64_t capacity = kLayers * kExperts / 2;
  ExpertSlots slots(kLayers, kExperts, capacity);
  const int64_t hits = HitsOf(slots, trace), best = BestHits(trace, capacity);
  EXPECT(static_cast<double>(hits) > 0.95 * static_cast<double>(best));
}

}  // namespace
}  // namespace k2
