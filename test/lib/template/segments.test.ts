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

  it("forgets runs that the previous prompt did not have", async () => {
    const tokenizer = new ByteTokenizer();
    const prompts = new PromptEncoder(tokenizer);
    for (const text of ["one", "two", "one"]) await prompts.encode(turn(text));
    expect(tokenizer.encoded).toEqual(["one", "two", "one"]);
  });
});
