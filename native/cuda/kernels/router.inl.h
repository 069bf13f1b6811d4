// The router (RouterParams of native/ops/params.h): one warp a token. Scores are float.

enum ScoringKind : uint { kSigmoid = 0, kSoftmax = 1 };
enum RoutingKind : uint { kNoAuxTc = 0, kGreedy = 1, kGroupLimitedGreedy = 2 };

// Floats as whole numbers of the same order, so that 0 is free to mean "taken". NaN counts as minus infinity,
// and both zeros are one.
K2_DEVICE uint OrderedBits(float key) {
  const uint bits = AsUint(key == key ? key + 0.0f : kMinusInfinity);
  return (bits & 0x80000000u) ? ~bits : bits | 0x80000000u;
}

// Index of the largest of `count` keys, the lowest of equals; it is then taken.
K2_DEVICE uint TakeLargest(uint* keys, uint count, uint lane) {
  uint best = 0, index = count;
  for (uint i = lane; i < count; i += kLanes) {
    if (keys[i] > best) {
      best = keys[i];
      index = i;
    }
  }
  const uint largest = MaxOfLanes(best);
  const uint taken = MinOfLanes(best == largest ? index : count);
  if (taken % kLanes == lane) keys[taken] = 0;
  SyncLanes();
  return taken;
}

// Blocks are tokens.
K2_DEVICE void Router(const RouterArguments& a, const Position& at) {
  K2_SHARED(float, scores, kMostExperts);
  K2_SHARED(uint, keys, kMostExperts);
  K2_SHARED(uint, group_keys, kMostExperts);
  K2_SHARED(uint, chosen, kMostChosen);
  K2_SHARED(uint, ordered, kMostChosen);
  const float* z = a.logits + ulong(at.block_x) * a.logits_stride;
  const uint experts = a.experts;
  const WeightArguments bias = a.bias;

  float largest = kMinusInfinity, sum = 0.0f;
  if (a.scoring == kSoftmax) {
    for (uint e = at.lane; e < experts; e += kLanes) largest = fmaxf(largest, z[e]);
    largest = MaxOfLanes(largest);
    for (uint e = at.lane; e < experts; e += kLanes) sum += Exp(z[e] - largest);
    sum = SumOfLanes(sum);
  }
  uint is_unsound = 0;
  for (uint e = at.lane; e < experts; e += kLanes) {
    scores[e] = a.scoring == kSigmoid ? 1.0f / (1.0f + Exp(-z[e])) : Exp(z[e] - largest) / sum;
    const float key = scores[e] + (bias.data ? PlainNumber(bias.data, bias.storage, e) : 0.0f);
    if (!(key == key)) is_unsound = 1;
    keys[e] = OrderedBits(key);
  }
  is_unsound = MaxOfLanes(is_unsound);
  SyncLanes();

  if (a.routing != kGreedy && a.groups > 1) {
    const uint size = experts / a.groups;
    for (uint g = at.lane; g < a.groups; g += kLanes) {
      float best = kMinusInfinity, second = kMinusInfinity;
      for (uint i = g * size; i < (g + 1) * size; ++i) {
        const float key = scores[i] + (bias.data ? PlainNumber(bias.data, bias.storage, i) : 0.0f);
        if (key > best) {
          second = best;
          best = key;
        } else if (key > second) {
          second = key;
        }
      }
      group_keys[g] = OrderedBits(a.routing == kNoAuxTc && size > 1 ? best + second : best);
    }
    SyncLanes();
    for (uint i = 0; i < a.top_groups; ++i) TakeLargest(group_keys, a.groups, at.lane);
    // What was not taken is masked.
    const uint never = OrderedBits(kMinusInfinity);
    for (uint e = at.lane; e < experts; e += kLanes) keys[e] = group_keys[e / size] == 0 ? keys[e] : never;
    SyncLanes();
  }

  for (uint j = 0; j < a.chosen; ++j) {
    const uint taken = TakeLargest(keys, experts, at.lane);
    if (at.lane == 0) chosen[j] = taken;
  }
  SyncLanes();
  // In ascending id: the place of an expert is the number of chosen ones below it.
  for (uint j = at.lane; j < a.chosen; j += kLanes) {
    uint place = 0;
    for (uint i = 0; i < a.chosen; ++i) place += chosen[i] < chosen[j] ? 1u : 0u;
    ordered[place] = chosen[j];
  }
  SyncLanes();
  float chosen_sum = 0.0f;
  for (uint j = 0; j < a.chosen; ++j) chosen_sum += scores[ordered[j]];
  const bool divides = a.normalize && (a.routing == kNoAuxTc || a.chosen > 1);
  const bool multiplies = a.routing == kNoAuxTc || !divides;
  for (uint j = at.lane; j < a.chosen; j += kLanes) {
    float weight = scores[ordered[j]];
    if (divides) weight /= chosen_sum + 1e-20f;
    if (multiplies) weight *= a.routed_scaling;
    // Else the expert with the NaN would quietly never be chosen.
    if (is_unsound) weight = AsFloat(0x7fc00000u);
    a.ids[at.block_x * a.chosen + j] = int(ordered[j]);
    a.weights[at.block_x * a.chosen + j] = weight;
  }
}
K2_KERNEL(k2_router, Router, RouterArguments, kLanes)
