import { describe, expect, it } from "vitest";
import { encodeSegments, PromptEncoder, type Segment } from "../../../lib/template/segments";
import { ByteTokenizer } from "../support/byte-tokenizer";

const segments: Segment[] = [
  { kind: "control", name: "<|im_system|>" },
  { kind: "template", text: "## Return of " },
  { kind: "content", text: "functions.f:0" },
  { kind: "template", text: "\n" },
  { kind: "content", text: "ü<|im_end|>" },
  { kind: "control", name: "<|im_end|>" },
  { kind: "content", text: "" },
  { kind: "control", name: "<|im_user|>" },
];

describe("encodeSegments", () => {
  it("encodes the text between two control tokens as one string, and no empty one", () => {
    const tokenizer = new ByteTokenizer();
    const ids = encodeSegments(segments, tokenizer);
    expect(tokenizer.encoded).toEqual(["## Return of functions.f:0\nü<|im_end|>"]);
    expect([...ids]).toEqual([
      tokenizer.controlId("<|im_system|>"),
      ...Buffer.from("## Return of functions.f:0\nü<|im_end|>"),
      tokenizer.controlId("<|im_end|>"),
      tokenizer.controlId("<|im_user|>"),
    ]);
  });

  it("names a control token that the checkpoint lacks", () => {
    expect(() => encodeSegments(segments, new ByteTokenizer(["<|im_system|>"]))).toThrow(
      expect.objectContaining({ code: "unsupported-checkpoint", details: { token: "<|im_end|>" } }),
    );
  });
});

const PAIR = 0xff;

/** Has a token for "aa" beside its bytes. */
class PairTokenizer extends ByteTokenizer {
  override encode(text: string): Int32Array {
    const ids = [...super.encode(text)];
    for (let i = 0; i + 1 < ids.length; i++) if (ids[i] === 97 && ids[i + 1] === 97) ids.splice(i, 2, PAIR);
    return Int32Array.from(ids);
  }

  override createTextDecoder() {
    const bytes = super.createTextDecoder();
    return {
      ...bytes,
      push: (id: number) => (id === PAIR ? bytes.push(97) + bytes.push(97) : bytes.push(id)),
    };
  }
}

describe("PromptEncoder", () => {
  const turn = (text: string): Segment[] => [
    { kind: "control", name: "<|im_user|>" },
    { kind: "content", text },
    { kind: "control", name: "<|im_end|>" },
  ];

  it("gives the ids of encodeSegments and encodes known runs only once", async () => {
    const tokenizer = new ByteTokenizer();
    const prompts = new PromptEncoder(tokenizer);
    const first = [...turn("one"), ...turn("two"), ...turn("one")];
    expect(await prompts.encode(first)).toEqual(encodeSegments(first, new ByteTokenizer()));
    expect(tokenizer.encoded).toEqual(["one", "two"]);
    const second = [...first, ...turn("three")];
    expect(await prompts.encode(second)).toEqual(encodeSegments(second, new ByteTokenizer()));
    expect(tokenizer.encoded).toEqual(["one", "two", "three"]);
  });

  it("keeps the ids that were computed for a text, up to the first difference", async () => {
    const tokenizer = new PairTokenizer();
    const prompts = new PromptEncoder(tokenizer);
    const control = (name: string) => tokenizer.controlId(name)!;
    const [begin, end] = [control("<|im_user|>"), control("<|im_end|>")];
    const byBytes = [...Buffer.from("aabb")];
    const segments = [...turn("aabb"), ...turn("aabb"), ...turn("cc")];
    const usual = [...(await prompts.encode(segments))];
    expect(usual.slice(0, 4)).toEqual([begin, PAIR, 98, 98]);
    // The first run as bytes, the second as the tokenizer has it.
    const computed = [begin, ...byBytes, end, begin, PAIR, 98, 98, end];
    for (let step = 0; step < 2; step++) {
      expect([...(await prompts.encode(segments, undefined, computed))]).toEqual([
        ...computed,
        begin,
        99,
        99,
        end,
      ]);
    }
    // A longer run, a shorter one and another text are not this text; behind them nothing is taken over.
    for (const other of ["aabbb", "aab", "aaxb"]) {
      const ids = [begin, ...Buffer.from(other), end, begin, ...byBytes, end];
      expect([...(await prompts.encode(segments, undefined, ids))]).toEqual(usual);
    }
    // What is no text in UTF-8 is U+FFFD in the answer.
    const broken = [begin, 0xf0, 0x9f, end];
    expect([...(await prompts.encode(turn("\ufffd"), undefined, broken))]).toEqual(broken);
    expect([...(await prompts.encode(turn("aabb")))]).toEqual([begin, PAIR, 98, 98, end]);
  });

  it("forgets runs that the previous prompt did not have", async () => {
    const tokenizer = new ByteTokenizer();
    const prompts = new PromptEncoder(tokenizer);
    for (const text of ["one", "two", "one"]) await prompts.encode(turn(text));
    expect(tokenizer.encoded).toEqual(["one", "two", "one"]);
  });
});
