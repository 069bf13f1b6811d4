// The scanner against the published rule as a regular expression of JavaScript's `v` flag, and its edges by hand.

import { describe, expect, it } from "vitest";

import { characterClasses, unitOf } from "../../../lib/tokenizer/character-classes";
import { endOfPiece } from "../../../lib/tokenizer/pretokenize";
import { seededRandom } from "../../support/random";
import { awkwardText } from "./small-vocabularies";

function split(text: string): string[] {
  const characters = Array.from(text);
  const classes = characterClasses();
  const units = Int32Array.from(characters, (character) => unitOf(character.codePointAt(0)!, classes));
  const pieces: string[] = [];
  for (let at = 0; at < units.length; ) {
    const end = endOfPiece(units, at, units.length);
    expect(end).toBeGreaterThan(at);
    pieces.push(characters.slice(at, end).join(""));
    at = end;
  }
  return pieces;
}

const upper = String.raw`[[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]--\p{Script=Han}]`;
const lower = String.raw`[[\p{Ll}\p{Lm}\p{Lo}\p{M}]--\p{Script=Han}]`;
const contraction = "(?:'[sSſ]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?";
const rule = new RegExp(
  [
    String.raw`\p{Script=Han}+`,
    String.raw`[^\r\n\p{L}\p{N}]?${upper}*${lower}+${contraction}`,
    String.raw`[^\r\n\p{L}\p{N}]?${upper}+${lower}*${contraction}`,
    String.raw`\p{N}{1,3}`,
    String.raw` ?[^\p{White_Space}\p{L}\p{N}]+[\r\n]*`,
    String.raw`\p{White_Space}*[\r\n]+`,
    String.raw`\p{White_Space}+(?!\P{White_Space})`,
    String.raw`\p{White_Space}+`,
  ].join("|"),
  "gv",
);

describe("endOfPiece", () => {
  it.each<[string, string[]]>([
    ["helloWorld", ["hello", "World"]],
    ["HELLOworld", ["HELLOworld"]],
    ["あAB x", ["あ", "AB", " x"]],
    ["don't I'LL x'ſy", ["don't", " I'LL", " x'ſ", "y"]],
    ["it'sn't", ["it's", "n't"]],
    ["'s", ["'s"]],
    ["we'r", ["we", "'r"]],
    ["1234567", ["123", "456", "7"]],
    ["1〇2 〇", ["1〇2", " ", "〇"]],
    ["!⺀x", ["!⺀", "x"]],
    ["⺀!", ["⺀", "!"]],
    ["中国abc", ["中国", "abc"]],
    ["a  b", ["a", " ", " b"]],
    ["a  ", ["a", "  "]],
    ["a   1", ["a", "  ", " ", "1"]],
    ["a \n\n  b", ["a", " \n\n", " ", " b"]],
    ["?!\r\n\n x", ["?!\r\n\n", " x"]],
    [" !\n", [" !\n"]],
    ["\t!", ["\t", "!"]],
    ["\tx", ["\tx"]],
    ["\nx", ["\n", "x"]],
    ["a\u0085b", ["a", "\u0085b"]],
    ["\u200b \ufeff", ["\u200b", " \ufeff"]],
    ["\u0301a", ["\u0301a"]],
    ["\u0301\u0301 ", ["\u0301\u0301", " "]],
    ["\u0301ABC", ["\u0301", "ABC"]],
    ["AªBC", ["Aª", "BC"]],
    ["!Aª'll", ["!Aª'll"]],
    ["\u001cx", ["\u001cx"]],
  ])("splits %j", (text, pieces) => {
    expect(split(text)).toEqual(pieces);
  });

  it("equals the regular expression on random texts", () => {
    const random = seededRandom(4);
    for (let i = 0; i < 3000; i++) {
      const text = awkwardText(random, 30);
      expect(split(text), JSON.stringify(text)).toEqual(text.match(rule));
    }
  });

  it("knows every code point as Unicode 16 does", () => {
    // Each property is a fixed number of code points in Unicode 16.0: UnicodeData.txt and Scripts.txt.
    const classes = characterClasses();
    const counts = new Array<number>(8).fill(0);
    for (const flags of classes) for (let bit = 0; bit < 8; bit++) counts[bit]! += (flags >> bit) & 1;
    expect(classes.length).toBe(0x110000);
    const [han, , , letter, number, whiteSpace, lineBreak, pythonSpace] = counts;
    expect({ han, letter, number, whiteSpace, lineBreak, pythonSpace }).toEqual({
      han: 99_030,
      letter: 141_028,
      number: 1911,
      whiteSpace: 25,
      lineBreak: 2,
      pythonSpace: 29,
    });
  });
});
