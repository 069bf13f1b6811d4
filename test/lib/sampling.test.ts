// Masks and token ids as callers give them: what is taken, and the sentence that refuses the rest.

import { expect, it } from "vitest";
import { checkSampling, createTokenMask, toTokenIds } from "../../lib/sampling";

it("a mask has one bit for each allowed token", () => {
  expect([...createTokenMask(65, [0, 31, 32, 64])]).toEqual([0x8000_0001, 1, 1]);
  expect(createTokenMask(64, [])).toHaveLength(2);
});

it.each([
  [Number.NaN, [], "an integer of 1..2147483647 for vocabSize, got NaN"],
  [-1, [], "an integer of 1..2147483647 for vocabSize, got -1"],
  [10, undefined, "an iterable for ids, got undefined"],
  [10, [10], "token ids of 0..9 for ids, got 10"],
  [10, [1.5], "token ids of 0..9 for ids, got 1.5"],
])("a mask of %s tokens with %s is refused", (vocabSize, ids, sentence) => {
  const make = () => createTokenMask(vocabSize, ids as number[]);
  expect(make).toThrow(
    expect.objectContaining({ code: "invalid-argument", message: `Expected ${sentence}` }),
  );
});

it("a mask that allows no token of the vocabulary is refused", () => {
  const beyond = Uint32Array.of(0xffff_fc00);
  expect(() => checkSampling({ mask: beyond }, 10)).toThrow("Expected at least one allowed token for mask");
});

it.each([
  ["abc", 'an Int32Array or an array of token ids for ids, got "abc"'],
  [{ length: 1 }, "an Int32Array or an array of token ids for ids, got an object"],
  [[3, 10], "token ids of 0..9 for ids[1], got 10"],
])("ids of %o are refused", (ids, sentence) => {
  expect(() => toTokenIds(ids, 10, "ids")).toThrow(`Expected ${sentence}`);
});
