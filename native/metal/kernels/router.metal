// The router (RouterParams of native/ops/params.h): one simdgroup a token. Scores are float.

enum ScoringKind : uint { kSigmoid = 0, kSoftmax = 1 };
enum RoutingKind : uint { kNoAuxTc = 0, kGreedy = 1, kGroupLimitedGreedy = 2 };

// Floats as whole numbers of the same order, so that 0 is free to mean "taken". NaN counts as minus infinity, and
// both zeros are one.
inline uint OrderedBits(float key) {
  const uint bits = as_type<uint>(key == key ? key + 0.0f : -INFINITY);
  return (bits & 0x80000000u) ? ~bits : bits | 0x80000000u;
}

// Index of the largest of `count` keys, the lowest of equals; it is then taken.
inline uint TakeLargest(threadgroup uint* keys, uint count, uint lane) {
  uint best = 0, index = count;
  for (uint i = lane; i < count; i += K2_LANES) {
    if (keys[i] > best) {
      best = keys[i];
      index = i;
    }
  }
  const uint largest = simd_max(best);
  const uint taken = simd_min(best == largest ? index : count);
  if (taken % K2_LANES == lane) keys[taken] = 0;
  simdgroup_barrier(mem_flags::mem_threadgroup);
  return taken;
}

// Groups are tokens.
[[kernel]] void Router(constant RouterArguments& a [[buffer(0)]], K2_POSITION) {
  K2_THREADGROUP(float, scores, K2_MOST_EXPERTS);
  K2_THREADGROUP(uint, keys, K2_MOST_EXPERTS);
  K2_THREADGROUP(uint, group_keys, K2_MOST_EXPERTS);
  K2_THREADGROUP(uint, chosen, K2_MOST_CHOSEN);
  K2_THREADGROUP(uint, ordered, K2_MOST_CHOSEN);
  device const float* z = a.logits + ulong(group.x) * a.logits_stride;
  const uint experts = a.experts;
  const WeightArguments bias = a.bias;

  float largest = -INFINITY, sum = 0.0f;
  if (a.scoring == kSoftmax) {
    for (uint e = lane; e < experts; e += K2_LANES) largest = max(largest, z[e]);
    largest = simd_max(largest);
    for (uint e = lane; e < experts; e += K2_LANES) sum += Exp(z[e] - largest);
    sum = simd_sum(sum);
  }
  uint is_unsound = 0;
  for (uint e = lane; e < experts; e += K2_LANES) {
    scores[e] = a.scoring == kSigmoid ? 1.0f / (1.0f + Exp(-z[e])) : Exp(z[e] - largest) / sum;
    const float key = scores[e] + (bias.data ? PlainNumber(bias.data, bias.storage, bias.is_aligned != 0, e) : 0.0f);
    if (!(key == key)) is_unsound = 1;
    keys[e] = OrderedBits(key);
  }
  is_unsound = simd_max(is_unsound);
  simdgroup_barrier(mem_flags::mem_threadgroup);

  if (a.routing != kGreedy && a.groups > 1) {
    const uint size = experts / a.groups;
    for (uint g = lane; g < a.groups; g += K2_LANES) {
      float best = -INFINITY, second = -INFINITY;
      for (uint i = g * size; i < (g + 1) * size; ++i) {
        const float key = scores[i] + (bias.data ? PlainNumber(bias.data, bias.storage, bias.is_aligned != 0, i) : 0.0f);
        if (key > best) {
          second = best;
          best = key;
        } else if (key > second) {
          second = key;
        }
      }
      group_keys[g] = OrderedBits(a.routing == kNoAuxTc && size > 1 ? best + second : best);
    }
    simdgroup_barrier(mem_flags::mem_threadgroup);
    for (uint i = 0; i < a.top_groups; ++i) TakeLargest(group_keys, a.groups, lane);
    // What was not taken is masked.
    const uint never = OrderedBits(-INFINITY);
    for (uint e = lane; e < experts; e += K2_LANES) keys[e] = group_keys[e / size] == 0 ? keys[e] : never;
    simdgroup_barrier(mem_flags::mem_threadgroup);
  }

  for (uint j = 0; j < a.chosen; ++j) {
    const uint taken = TakeLargest(keys, experts, lane);
    if (lane == 0) chosen[j] = taken;
  }
  simdgroup_barrier(mem_flags::mem_threadgroup);
  // In ascending id: the place of an expert is the number of chosen ones below it.
  for (uint j = lane; j < a.chosen; j += K2_LANES) {
    uint place = 0;
    for (uint i = 0; i < a.chosen; ++i) place += chosen[i] < chosen[j] ? 1u : 0u;
    ordered[place] = chosen[j];
  }
  simdgroup_barrier(mem_flags::mem_threadgroup);
  float chosen_sum = 0.0f;
  for (uint j = 0; j < a.chosen; ++j) chosen_sum += scores[ordered[j]];
  const bool divides = a.normalize && (a.routing == kNoAuxTc || a.chosen > 1);
  const bool multiplies = a.routing == kNoAuxTc || !divides;
  for (uint j = lane; j < a.chosen; j += K2_LANES) {
    float weight = scores[ordered[j]];
    if (divides) weight /= chosen_sum + 1e-20f;
    if (multiplies) weight *= a.routed_scaling;
    // Else the expert with the NaN would quietly never be chosen.
    if (is_unsound) weight = NAN;
    a.ids[group.x * a.chosen + j] = int(ordered[j]);
    a.weights[group.x * a.chosen + j] = weight;
  }
}
K2_KERNEL(Router)
