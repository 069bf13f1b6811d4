// The merger against the definition: look at all pairs, merge the lowest rank, leftmost of equals, and begin again.

import { describe, expect, it } from "vitest";

import { PieceMerger } from "../../../lib/tokenizer/bpe";
import { Vocabulary } from "../../../lib/tokenizer/vocabulary";
import { parseVocabulary } from "../../../lib/tokenizer/vocabulary-file";
import { seededRandom } from "../../support/random";
import { awkwardText, modelFile, smallVocabulary } from "./small-vocabularies";

function mergeNaively(vocabulary: Vocabulary, piece: Uint8Array): number[] {
  const starts = Array.from({ length: piece.length + 1 }, (_, i) => i);
  for (;;) {
    let best = -1;
    let bestRank = Number.POSITIVE_INFINITY;
    for (let i = 0; i + 2 < starts.length; i++) {
      const rank = vocabulary.rankOf(piece, starts[i]!, starts[i + 2]!);
      if (rank !== -1 && rank < bestRank) {
        best = i;
        bestRank = rank;
      }
    }
    if (best === -1) break;
    starts.splice(best + 1, 1);
  }
  return starts.slice(0, -1).map((start, i) => vocabulary.rankOf(piece, start, starts[i + 1]!));
}

function merge(merger: PieceMerger, piece: Uint8Array, mergesPerStep: number): number[] {
  merger.begin(piece, piece.length);
  while (!merger.step(mergesPerStep));
  const ids = new Int32Array(piece.length + 1);
  const end = merger.write(ids, 1);
  return [...ids.subarray(1, end)];
}

/** All bytes and up to 60 strings over "abc", in random order: merges come up in every order there is. */
function randomVocabulary(random: () => number): Vocabulary {
  const below = (limit: number) => Math.floor(random() * limit);
  const tokens = new Set(Array.from({ length: 256 }, (_, byte) => String.fromCharCode(byte)));
  for (let i = below(60); i >= 0; i--) {
    tokens.add(Array.from({ length: 2 + below(4) }, () => "abc"[below(3)]!).join(""));
  }
  const order = [...tokens].map((token) => ({ token, key: random() })).sort((a, b) => a.key - b.key);
  const vocabulary = new Vocabulary(order.length, 6 * order.length);
  for (const [rank, { token }] of order.entries()) {
    vocabulary.add(rank, Buffer.from(token, "latin1"), token.length);
  }
  return vocabulary;
}

describe("PieceMerger with random vocabularies", () => {
  it("merges like the definition, short and long pieces", () => {
    const random = seededRandom(12);
    for (let i = 0; i < 60; i++) {
      const vocabulary = randomVocabulary(random);
      const merger = new PieceMerger(vocabulary);
      for (const limit of [20, 60, 127, 128, 250]) {
        const length = Math.ceil(limit * (0.5 + random() / 2));
        const piece = Uint8Array.from({ length }, () => 97 + Math.floor(random() * 3));
        expect(merge(merger, piece, 1 + i)).toEqual(mergeNaively(vocabulary, piece));
      }
    }
  });
});

describe("Vocabulary", () => {
  it("remembers the latest merges without mixing them up", () => {
    const count = 40_000;
    const vocabulary = new Vocabulary(count, 4 * count);
    const bytes = Buffer.alloc(4 * count);
    for (let rank = 0; rank < count; rank++) {
      bytes.writeUInt32LE(rank, 4 * rank);
      vocabulary.add(rank, bytes.subarray(4 * rank), 4);
    }
    // As if each token were the merge of 7 and itself, and of itself and 7; more pairs than are remembered, and twice.
    for (let at = 0; at < 2 * count; at++) {
      const rank = at >> 1;
      const start = 4 * rank;
      const found = [
        vocabulary.rankOfMerge(7, rank, bytes, start, start + 4),
        vocabulary.rankOfMerge(rank, 7, bytes, start, start + 4),
      ];
      if (found[0] !== rank || found[1] !== rank) throw new Error(`Expected ${rank} twice, got ${found}`);
    }
  });
});

describe.each(["trained", "shuffled"] as const)("PieceMerger with the %s vocabulary", (name) => {
  const load = () => parseVocabulary(Buffer.from(modelFile(smallVocabulary(name))), "tiktoken.model");

  it("merges like the definition, in steps of any size", async () => {
    const vocabulary = await load();
    const merger = new PieceMerger(vocabulary);
    const random = seededRandom(9);
    for (let i = 0; i < 1500; i++) {
      const piece = Buffer.from(awkwardText(random, 25));
      const expected = mergeNaively(vocabulary, piece);
      expect(merge(merger, piece, 1 << 20), piece.toString("hex")).toEqual(expected);
      expect(merge(merger, piece, 1 + (i % 3)), piece.toString("hex")).toEqual(expected);
    }
  });

  it("merges random bytes and every short repetition like the definition", async () => {
    const vocabulary = await load();
    const merger = new PieceMerger(vocabulary);
    const random = seededRandom(10);
    const below = (limit: number) => Math.floor(random() * limit);
    const check = (piece: Uint8Array) =>
      expect(merge(merger, piece, 1 << 20)).toEqual(mergeNaively(vocabulary, piece));
    for (let i = 0; i < 600; i++) {
      const length = 1 + below(i % 2 === 0 ? 60 : 300);
      check(Uint8Array.from({ length }, () => "abc1 !".charCodeAt(below(6))));
      check(Uint8Array.from({ length }, () => below(256)));
    }
    for (let length = 1; length < 150; length++) {
      check(Buffer.alloc(length, "a"));
      check(Buffer.alloc(length, "12"));
    }
  });
});
