// The stream equals the whole, wherever the bytes are cut.

import { describe, expect, it } from "vitest";

import { StreamingTextDecoder } from "../../../lib/tokenizer/text-decoder";
import { seededRandom } from "../../support/random";
import { awkwardText, loadSmall } from "./small-vocabularies";

/** Decodes chunks of bytes; returns the texts, the flushed rest last. */
function decodeChunks(chunks: readonly Uint8Array[]): string[] {
  const decoder = new StreamingTextDecoder((id) => chunks[id]!);
  return [...chunks.map((_, id) => decoder.push(id)), decoder.flush()];
}

const whole = (bytes: Uint8Array) => new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
const bytesEach = (bytes: Uint8Array) => Array.from(bytes, (_, i) => bytes.subarray(i, i + 1));

describe("StreamingTextDecoder", () => {
  it("returns a character with its last byte and not before", () => {
    expect(decodeChunks(bytesEach(Buffer.from("aé中😀")))).toEqual([
      ...["a", "", "é", "", "", "中", "", "", "", "😀"],
      "",
    ]);
  });

  it.each<[string, number[], string[]]>([
    ["a lone continuation", [0x80, 0x61], ["\ufffd", "a", ""]],
    ["an impossible byte", [0xff, 0xc0, 0xf5], ["\ufffd", "\ufffd", "\ufffd", ""]],
    ["an end in the middle", [0xf0, 0x9f, 0x98], ["", "", "", "\ufffd"]],
    ["a new character in the middle", [0xe4, 0xb8, 0x61], ["", "", "\ufffda", ""]],
    ["a lead after a lead", [0xe4, 0xe4, 0xb8, 0xad], ["", "\ufffd", "", "中", ""]],
    ["an overlong form of three", [0xe0, 0x80, 0x80], ["", "\ufffd\ufffd", "\ufffd", ""]],
    ["an overlong form of four", [0xf0, 0x80, 0x80], ["", "\ufffd\ufffd", "\ufffd", ""]],
    ["a surrogate", [0xed, 0xa0, 0x80], ["", "\ufffd\ufffd", "\ufffd", ""]],
    ["past U+10FFFF", [0xf4, 0x90, 0x80], ["", "\ufffd\ufffd", "\ufffd", ""]],
    ["the last character", [0xf4, 0x8f, 0xbf, 0xbf], ["", "", "", "\u{10ffff}", ""]],
    ["a byte order mark, which stays", [0xef, 0xbb, 0xbf, 0x61], ["", "", "\ufeff", "a", ""]],
  ])("handles %s", (_, bytes, texts) => {
    expect(decodeChunks(bytesEach(Uint8Array.from(bytes)))).toEqual(texts);
  });

  it("equals the decoding of the whole for every cut of every short byte string", () => {
    const edges = [
      0x00, 0x61, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xec, 0xed, 0xee,
    ];
    edges.push(0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xff);
    const random = seededRandom(1);
    for (let i = 0; i < 4000; i++) {
      const length = 1 + Math.floor(random() * 9);
      const bytes = Uint8Array.from({ length }, () => edges[Math.floor(random() * edges.length)]!);
      expect(decodeChunks(bytesEach(bytes)).join("")).toBe(whole(bytes));
      for (let cut = 0; cut <= length; cut++) {
        const texts = decodeChunks([bytes.subarray(0, cut), bytes.subarray(cut)]);
        expect(texts.join("")).toBe(whole(bytes));
      }
    }
  });

  it("never takes back what it returned, and holds back at most three bytes", () => {
    const random = seededRandom(2);
    for (let i = 0; i < 500; i++) {
      const bytes = Buffer.from(awkwardText(random, 20));
      let taken = 0;
      let text = "";
      for (const [index, part] of decodeChunks(bytesEach(bytes)).slice(0, -1).entries()) {
        text += part;
        taken = Buffer.byteLength(text);
        expect(index + 1 - taken).toBeLessThanOrEqual(3);
        expect(whole(bytes).startsWith(text)).toBe(true);
      }
      expect(text).toBe(whole(bytes));
    }
  });

  it("can be used again after a flush, and takes long tokens", () => {
    const chunks = [Buffer.from([0xe4]), Buffer.from("中".repeat(500)), Buffer.from("a")];
    const decoder = new StreamingTextDecoder((id) => chunks[id]!);
    expect(decoder.push(0) + decoder.flush()).toBe("\ufffd");
    expect(decoder.push(2) + decoder.flush()).toBe("a");
    expect(decoder.push(0) + decoder.push(1) + decoder.push(2) + decoder.flush()).toBe(
      `\ufffd${"中".repeat(500)}a`,
    );
  });

  it.each(["name", "skip"] as const)(
    "equals decode for random ids with control tokens: %s",
    async (controlTokens) => {
      const tokenizer = await loadSmall("shuffled");
      const random = seededRandom(3);
      for (let i = 0; i < 500; i++) {
        const ids = Array.from({ length: 40 }, () => Math.floor(random() * tokenizer.vocabSize));
        const decoder = tokenizer.createTextDecoder({ controlTokens });
        const text = ids.map((id) => decoder.push(id)).join("") + decoder.flush();
        expect(text).toBe(tokenizer.decode(ids, { controlTokens }));
        expect(text).toBe(whole(tokenizer.decodeBytes(ids, { controlTokens })));
      }
    },
  );
});
