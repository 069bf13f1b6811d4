import { describe, expect, it } from "vitest";

import { K2Error } from "../../../lib/errors";
import { SpecialTokens } from "../../../lib/tokenizer/special-tokens";
import { configuration, K2_NAMES } from "./small-vocabularies";

const options = { baseCount: 1000, vocabSize: 1256, file: "/models/k2/tokenizer_config.json" };

function read(names = K2_NAMES): SpecialTokens {
  return new SpecialTokens(JSON.parse(configuration(1000, names)), options);
}

function declaring(declarations: unknown): unknown {
  return { added_tokens_decoder: declarations };
}

function failure(content: unknown): K2Error {
  try {
    new SpecialTokens(content, options);
  } catch (error) {
    expect(error).toBeInstanceOf(K2Error);
    expect((error as K2Error).code).toBe("invalid-checkpoint");
    return error as K2Error;
  }
  throw new Error("expected a failure");
}

describe("SpecialTokens", () => {
  it("names the markers of the family", () => {
    const special = read();
    expect(special).toMatchObject({
      firstId: 1000,
      vocabSize: 1256,
      bos: 1000,
      eos: 1001,
      imEnd: 1002,
      imUser: 1003,
      imAssistant: 1004,
      eot: 1009,
      imSystem: 1010,
      toolCallsSectionBegin: 1011,
      toolCallsSectionEnd: 1012,
      toolCallBegin: 1013,
      toolCallArgumentBegin: 1014,
      toolCallEnd: 1015,
      imMiddle: 1017,
      mediaBegin: 1018,
      mediaContent: 1019,
      mediaEnd: 1020,
      mediaPad: 1021,
      thinkBegin: 1022,
      thinkEnd: 1023,
      unk: 1254,
      pad: 1255,
    });
    expect(special.stopIds).toEqual([1001, 1002, 1009]);
  });

  it("counts every id from the ranks to vocab_size as control, whatever the flag says", () => {
    const special = read();
    const controls = Array.from({ length: 2000 }, (_, id) => id).filter((id) => special.has(id));
    expect(controls).toEqual(Array.from({ length: 256 }, (_, i) => 1000 + i));
  });

  it("gives undeclared ids their reserved names, and finds them by name", () => {
    const special = read();
    expect(special.name(1005)).toBe("<|reserved_token_1005|>");
    expect(special.id("<|reserved_token_1005|>")).toBe(1005);
    for (let id = 1000; id < 1256; id++) expect(special.id(special.name(id))).toBe(id);
    // Not ids of their own: declared, ordinary, past the end, or another spelling.
    for (const name of ["1000", "999", "1256", "01005", "1005.0", ""]) {
      expect(special.id(`<|reserved_token_${name}|>`), name).toBeUndefined();
    }
    expect(special.id("constructor")).toBeUndefined();
  });

  it("leaves what a checkpoint does not declare undefined", () => {
    const { 22: _, 23: __, 9: ___, ...instruct } = K2_NAMES;
    const special = read(instruct);
    expect([special.thinkBegin, special.thinkEnd, special.eot]).toEqual([undefined, undefined, undefined]);
    expect(special.stopIds).toEqual([1001, 1002]);
    expect(special.name(1022)).toBe("<|reserved_token_1022|>");
  });

  const KEY = 'added_tokens_decoder["1003"]';
  it.each<[string, unknown, string]>([
    ["no object", [], "the whole file"],
    ["null", null, "the whole file"],
    ["a string", "x", "the whole file"],
    ["no declarations", {}, "added_tokens_decoder"],
    ["declarations in an array", declaring([]), "added_tokens_decoder"],
    ["declarations that are null", declaring(null), "added_tokens_decoder"],
    ["a number for declarations", declaring(5), "added_tokens_decoder"],
    ["a declaration that is a string", declaring({ 1003: "<x>" }), KEY],
    ["a declaration that is null", declaring({ 1003: null }), KEY],
    ["a declaration that is an array", declaring({ 1003: ["<x>"] }), KEY],
    ["no content", declaring({ 1003: { special: true } }), `${KEY}.content`],
    ["a number as content", declaring({ 1003: { content: 7 } }), `${KEY}.content`],
    ["null as content", declaring({ 1003: { content: null } }), `${KEY}.content`],
    ["empty content", declaring({ 1003: { content: "" } }), `${KEY}.content`],
    ["content of 257 characters", declaring({ 1003: { content: "x".repeat(257) } }), `${KEY}.content`],
    ["a lone surrogate", declaring({ 1003: { content: "<\ud800>" } }), `${KEY}.content`],
    ["a flag that is a number", declaring({ 1003: { content: "<x>", special: 1 } }), `${KEY}.special`],
    ["a flag that is null", declaring({ 1003: { content: "<x>", special: null } }), `${KEY}.special`],
    [
      "the same name twice",
      declaring({ 1002: { content: "<x>" }, 1003: { content: "<x>" } }),
      `${KEY}.content`,
    ],
    [
      "the reserved name of another id",
      declaring({ 1003: { content: "<|reserved_token_1100|>" } }),
      `${KEY}.content`,
    ],
    ["an id below the ranks", declaring({ 999: { content: "<x>" } }), 'added_tokens_decoder["999"]'],
    ["an id past the end", declaring({ 1256: { content: "<x>" } }), 'added_tokens_decoder["1256"]'],
    ["a negative id", declaring({ "-1": { content: "<x>" } }), 'added_tokens_decoder["-1"]'],
    ["a fraction as id", declaring({ "1003.5": { content: "<x>" } }), 'added_tokens_decoder["1003.5"]'],
    ["a spelling of an id", declaring({ "01003": { content: "<x>" } }), 'added_tokens_decoder["01003"]'],
    ["an exponent as id", declaring({ "1e3": { content: "<x>" } }), 'added_tokens_decoder["1e3"]'],
    ["a word as id", declaring({ bos: { content: "<x>" } }), 'added_tokens_decoder["bos"]'],
    ["an id of 40 digits", declaring({ ["1".repeat(40)]: { content: "<x>" } }), "added_tokens_decoder"],
    [
      "a prototype",
      JSON.parse('{"added_tokens_decoder":{"__proto__":{"content":"<x>"}}}'),
      "added_tokens_decoder",
    ],
  ])("refuses %s", (_, content, key) => {
    const error = failure(content);
    expect(error.details.file).toBe(options.file);
    expect(String(error.details.key).startsWith(key)).toBe(true);
    expect(error.message).toMatch(/^Expected .+ for .+ of \/models\/k2\/tokenizer_config\.json, got .+/);
    expect(error.message.length).toBeLessThan(300);
  });

  it("allows a reserved name on its own id and in place of a declared one", () => {
    const special = new SpecialTokens(
      declaring({ 1003: { content: "<|reserved_token_1003|>" }, 1004: { content: "<|reserved_token_5|>" } }),
      options,
    );
    expect(special.id("<|reserved_token_1003|>")).toBe(1003);
    expect(special.id("<|reserved_token_5|>")).toBe(1004);
  });
});
