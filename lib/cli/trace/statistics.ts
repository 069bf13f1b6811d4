// What the experts of many tokens have in common: how even the load is, which experts are busy, what consecutive tokens
// share, and what a cache of experts would hit.

import type { Routing } from "../../index";
import { expertsOf } from "./recording";

export interface LayerStatistics {
  /** Its number in the model. */
  readonly layer: number;
  /** How often each expert was chosen. */
  readonly counts: Uint32Array;
  /** Ids by how often they were chosen, the busiest first; those that never were are left out. */
  readonly ranking: readonly number[];
  /**
   * As many experts under the same load each would be as uncertain to guess: e to the entropy of the shares. All of them
   * when the load is even, 1 when one expert does everything.
   */
  readonly effectiveExperts: number;
  /** Of the experts of a token, the share that the token before had too; NaN without two consecutive tokens. */
  readonly kept: number;
  /**
   * For n = 0, 1, ... the share of choices that a cache of the n experts used last would have held. A token uses its
   * experts in ascending order of their ids. The first use of an expert is a miss.
   */
  readonly hitRates: Float64Array;
}

export interface Statistics {
  /** Tokens whose experts are known. */
  readonly tokens: number;
  readonly layers: readonly LayerStatistics[];
  /** Means over the layers. */
  readonly effectiveExperts: number;
  readonly kept: number;
  readonly hitRates: Float64Array;
}

export function computeStatistics(routing: Routing): Statistics {
  const layers = routing.layers.map((layer, index) => layerStatistics(routing, layer, index));
  const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  return {
    tokens: routing.isKnown.reduce((sum, known) => sum + known, 0),
    layers,
    effectiveExperts: mean(layers.map((one) => one.effectiveExperts)),
    kept: mean(layers.map((one) => one.kept)),
    hitRates: Float64Array.from({ length: routing.expertCount + 1 }, (_, size) =>
      mean(layers.map((one) => one.hitRates[size]!)),
    ),
  };
}

function layerStatistics(routing: Routing, layer: number, index: number): LayerStatistics {
  const { expertCount, expertsPerToken, isKnown } = routing;
  const counts = new Uint32Array(expertCount);
  const uses = new UseOrder(expertCount);
  let shared = 0;
  let pairs = 0;
  let before: Uint16Array | undefined;
  for (let token = 0; token < isKnown.length; token += 1) {
    if (isKnown[token] === 0) {
      before = undefined;
      continue;
    }
    const experts = expertsOf(routing, token, index);
    for (const expert of experts) {
      counts[expert]! += 1;
      uses.use(expert);
      if (before?.includes(expert)) shared += 1;
    }
    if (before !== undefined) pairs += 1;
    before = experts;
  }
  const used = [...counts.keys()].filter((expert) => counts[expert]! > 0);
  return {
    layer,
    counts,
    ranking: used.sort((a, b) => counts[b]! - counts[a]! || a - b),
    effectiveExperts: Math.exp(entropy(counts)),
    kept: shared / (pairs * expertsPerToken),
    hitRates: uses.hitRates(),
  };
}

/** Experts by their last use: where one stands when it is used again is the size of the smallest cache that holds it. */
class UseOrder {
  private readonly latest: number[] = [];
  /** How often an expert was found at each place. */
  private readonly found: Float64Array;
  private total = 0;

  constructor(expertCount: number) {
    this.found = new Float64Array(expertCount);
  }

  use(expert: number): void {
    const place = this.latest.indexOf(expert);
    if (place >= 0) {
      this.found[place]! += 1;
      this.latest.splice(place, 1);
    }
    this.latest.unshift(expert);
    this.total += 1;
  }

  hitRates(): Float64Array {
    const rates = new Float64Array(this.found.length + 1);
    let hits = 0;
    for (const [place, count] of this.found.entries()) {
      hits += count;
      rates[place + 1] = this.total === 0 ? 0 : hits / this.total;
    }
    return rates;
  }
}

function entropy(counts: Uint32Array): number {
  const total = counts.reduce((sum, count) => sum + count, 0);
  return counts.reduce(
    (sum, count) => (count === 0 ? sum : sum - (count / total) * Math.log(count / total)),
    0,
  );
}
