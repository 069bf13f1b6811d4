// The statistics of a trace: counted by hand, and against a cache that is really kept.

import { describe, expect, it } from "vitest";
import { expertsOf, type Recording } from "../../../../lib/cli/trace/recording";
import { computeStatistics } from "../../../../lib/cli/trace/statistics";
import { cacheSizes, findings, scope } from "../../../../lib/cli/trace/words";
import type { Routing } from "../../../../lib/index";
import { makeRecording } from "./recordings";

/** One layer of 4 experts, 2 a token; null is a token that nothing is known of. */
function routingOf(rows: readonly (readonly [number, number] | null)[]): Routing {
  return {
    layers: [3],
    expertCount: 4,
    expertsPerToken: 2,
    firstPosition: 0,
    tokens: new Int32Array(rows.length),
    experts: Uint16Array.from(rows.flatMap((row) => row ?? [65535, 65535])),
    weights: new Float32Array(2 * rows.length),
    isKnown: Uint8Array.from(rows, (row) => (row === null ? 0 : 1)),
  };
}

describe("statistics", () => {
  it("are what one counts by hand", () => {
    const { tokens, layers } = computeStatistics(routingOf([[0, 1], [0, 1], [1, 2], null, [1, 2], [0, 1]]));
    expect(tokens).toBe(5);
    const [layer] = layers;
    expect(layer).toMatchObject({ layer: 3, counts: Uint32Array.of(3, 5, 2, 0), ranking: [1, 0, 2] });
    // Pairs: both stay, one stays, (unknown), one stays.
    expect(layer!.kept).toBeCloseTo(4 / 6, 12);
    const shares = [0.3, 0.5, 0.2];
    expect(layer!.effectiveExperts).toBeCloseTo(
      Math.exp(-shares.reduce((sum, share) => sum + share * Math.log(share), 0)),
      12,
    );
    // Uses 0 1 0 1 1 2 1 2 0 1: distances - - 2 2 1 - 2 2 3 3.
    expect([...layer!.hitRates]).toEqual([0, 0.1, 0.5, 0.7, 0.7]);
  });

  it("of a load that is even, and of one that is not", () => {
    expect(
      computeStatistics(
        routingOf([
          [0, 1],
          [2, 3],
        ]),
      ).effectiveExperts,
    ).toBeCloseTo(4, 12);
    const stuck = computeStatistics(
      routingOf([
        [1, 2],
        [1, 2],
      ]),
    );
    expect(stuck.effectiveExperts).toBeCloseTo(2, 12);
    expect(stuck.kept).toBe(1);
    expect(computeStatistics(routingOf([[1, 2]])).kept).toBeNaN();
  });

  it("hit rates are those of a cache of that size", () => {
    const { routing } = makeRecording({ tokens: 80, layers: 3, experts: 12, chosen: 3, unknown: [17, 79] });
    const { layers, hitRates } = computeStatistics(routing);
    for (let size = 0; size <= 12; size += 1) {
      const rates = layers.map((_, index) => rateOfCache(routing, index, size));
      for (const [index, rate] of rates.entries())
        expect(layers[index]!.hitRates[size]).toBeCloseTo(rate, 12);
      expect(hitRates[size]).toBeCloseTo(rates.reduce((sum, rate) => sum + rate) / rates.length, 12);
    }
    expect(hitRates[12]).toBeGreaterThan(0.5);
  });
});

/** A cache as a program would keep it: a map in order of use. */
function rateOfCache(routing: Routing, layer: number, size: number): number {
  const cache = new Map<number, true>();
  let hits = 0;
  let uses = 0;
  for (const [token, known] of routing.isKnown.entries()) {
    if (known === 0) continue;
    for (const expert of expertsOf(routing, token, layer)) {
      uses += 1;
      if (cache.delete(expert)) hits += 1;
      cache.set(expert, true);
      if (cache.size > size) cache.delete(cache.keys().next().value!);
    }
  }
  return hits / uses;
}

describe("words", () => {
  const recordingOf = (routing: Routing): Recording => ({
    model: "/m",
    prompt: "",
    routing,
    texts: [...routing.tokens].map(String),
    isWritten: [...routing.tokens].map((_, index) => index > 0),
  });

  it("say what was counted", () => {
    const recording = recordingOf(routingOf([[0, 1], [0, 1], [1, 2], null]));
    const statistics = computeStatistics(recording.routing);
    expect(scope(recording, statistics)).toBe(
      "3 tokens that the model wrote and 1 that it read, in 1 layer of 4 experts, 2 for each token. " +
        "For 1 of them nothing was computed.",
    );
    expect(findings(recording, statistics)).toEqual([
      {
        title: "As even as 2.7 of 4 experts",
        text: expect.stringMatching(
          /^In a layer, .* as if 2\.7 of the 4 experts .* On average 1\.0 are never used\.$/,
        ),
      },
      {
        title: "Busiest: expert 1 of layer 3",
        text: "It works on 100 % of the tokens. An even load would give every expert 50 %.",
      },
      {
        title: "75 % stay from token to token",
        text: "Of the 2 experts of a token, 1.5 worked on the token before too. By chance it would be 50 %.",
      },
      {
        title: "A cache of 2 experts hits 50 %",
        text: expect.stringContaining("a cache of 2 hits 50 % of the choices"),
      },
    ]);
  });

  it("are silent about what cannot be counted", () => {
    const recording = recordingOf(routingOf([[0, 1]]));
    const titles = findings(recording, computeStatistics(recording.routing)).map(({ title }) => title);
    expect(titles).toHaveLength(3);
    expect(titles.join()).not.toContain("stay");
    const all = { ...routingOf([[0, 1]]), expertCount: 2 };
    expect(findings(recordingOf(all), computeStatistics(all))).toHaveLength(2);
  });

  it("sizes of a cache double, and end with all experts", () => {
    expect(cacheSizes(8, 384)).toEqual([8, 16, 32, 64, 128, 256, 384]);
    expect(cacheSizes(2, 8)).toEqual([2, 4, 8]);
    expect(cacheSizes(6, 6)).toEqual([6]);
  });
});
