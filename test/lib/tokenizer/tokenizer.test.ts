import { mkdtemp, rm, symlink, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";

import { K2Error } from "../../../lib/errors";
import { Tokenizer } from "../../../lib/tokenizer/tokenizer";
import { seededRandom } from "../../support/random";
import {
  awkwardText,
  configuration,
  loadSmall,
  modelFile,
  smallVocabulary,
  tokensOf,
} from "./small-vocabularies";

const small = smallVocabulary("trained");
const baseCount = small.tokens.split(" ").length;
const vocabSize = baseCount + 256;

const viewOf = (ids: Int32Array) => new Uint8Array(ids.buffer, ids.byteOffset, ids.byteLength);

async function failure(action: () => unknown): Promise<K2Error> {
  try {
    await action();
  } catch (error) {
    expect(error).toBeInstanceOf(K2Error);
    return error as K2Error;
  }
  throw new Error("expected a failure");
}

describe("loading a folder", () => {
  let folder: string;
  const path = (name: string) => join(folder, name);
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "k2-tokenizer-"));
    await writeFile(path("tiktoken.model"), modelFile(small));
    await writeFile(path("tokenizer_config.json"), configuration(baseCount));
  });
  afterEach(() => rm(folder, { recursive: true }));

  it("reads both files, also through links", async () => {
    const linked = await mkdtemp(join(tmpdir(), "k2-linked-"));
    for (const name of ["tiktoken.model", "tokenizer_config.json"])
      await symlink(path(name), join(linked, name));
    for (const place of [folder, linked]) {
      const tokenizer = await Tokenizer.load(place, { vocabSize });
      expect(tokenizer.baseCount).toBe(baseCount);
      expect(tokenizer.vocabSize).toBe(vocabSize);
      expect(tokenizer.controlId("<think>")).toBe(baseCount + 22);
    }
    await rm(linked, { recursive: true });
    const { tokenizer, reason } = await Tokenizer.tryLoad(folder, { vocabSize });
    expect(tokenizer?.decode(tokenizer.encode("Hello"))).toBe("Hello");
    expect(reason).toBeUndefined();
  });

  it.each(["tiktoken.model", "tokenizer_config.json"])("names %s when it is missing", async (name) => {
    await rm(path(name));
    const error = await failure(() => Tokenizer.load(folder, { vocabSize }));
    expect(error.code).toBe("missing-tokenizer");
    expect(error.details.file).toBe(path(name));
    expect(error.message).toContain(path(name));
    const { tokenizer, reason } = await Tokenizer.tryLoad(folder, { vocabSize });
    expect(tokenizer).toBeUndefined();
    expect(reason).toMatchObject({ code: "missing-tokenizer", details: { file: path(name) } });
  });

  it.each<[string, string, string | Buffer]>([
    ["no JSON", "tokenizer_config.json", "{"],
    ["an empty configuration", "tokenizer_config.json", ""],
    ["a configuration that is not UTF-8", "tokenizer_config.json", Buffer.from([0x22, 0xff, 0x22])],
    ["a configuration of more than a megabyte", "tokenizer_config.json", " ".repeat((1 << 20) + 1)],
    ["deep nesting", "tokenizer_config.json", "[".repeat(1 << 20)],
    ["a configuration for other ids", "tokenizer_config.json", configuration(baseCount - 1)],
    ["a damaged vocabulary", "tiktoken.model", "x"],
    [
      "a vocabulary cut at the end of a line",
      "tiktoken.model",
      modelFile(small).split("\n").slice(0, 650).join("\n"),
    ],
    ["a vocabulary of 17 MiB", "tiktoken.model", Buffer.alloc(17 << 20)],
  ])("refuses %s", async (_, name, content) => {
    await writeFile(path(name), content);
    for (const load of [Tokenizer.load, Tokenizer.tryLoad]) {
      const error = await failure(() => load(folder, { vocabSize }));
      expect(error.code).toBe("invalid-checkpoint");
      expect(String(error.details.file)).toContain(folder);
      expect(error.message).toContain("Expected");
    }
  });

  it("asks for the size before it reads", async () => {
    for (const name of ["tiktoken.model", "tokenizer_config.json"]) {
      await truncate(path(name), 2 ** 36);
      const error = await failure(() => Tokenizer.load(folder, { vocabSize }));
      expect(error).toMatchObject({
        code: "invalid-checkpoint",
        details: { file: path(name), got: 2 ** 36 },
      });
      await truncate(path(name), 0);
      await writeFile(path("tiktoken.model"), modelFile(small));
    }
  });

  it("refuses folders and devices in place of files", async () => {
    await rm(path("tiktoken.model"));
    for (const target of [tmpdir(), "/dev/zero"]) {
      await symlink(target, path("tiktoken.model"));
      expect((await failure(() => Tokenizer.load(folder, { vocabSize }))).code).toBe("invalid-checkpoint");
      await rm(path("tiktoken.model"));
    }
  });

  it("refuses wrong sizes and stops when its signal fires", async () => {
    for (const wrong of [0, -1, 1.5, Number.NaN, 2 ** 31, "7", undefined]) {
      const error = await failure(() => Tokenizer.load(folder, { vocabSize: wrong as number }));
      expect(error).toMatchObject({ code: "invalid-argument", details: { option: "vocabSize" } });
    }
    const tooSmall = await failure(() => Tokenizer.load(folder, { vocabSize: baseCount - 1 }));
    expect(tooSmall.code).toBe("invalid-checkpoint");
    const error = await failure(() => Tokenizer.load(folder, { vocabSize, signal: AbortSignal.abort() }));
    expect(error.code).toBe("aborted");
  });
});

describe("encoding", () => {
  it("is undone by decoding", async () => {
    for (const name of ["trained", "shuffled"] as const) {
      const tokenizer = await loadSmall(name);
      const random = seededRandom(5);
      for (let i = 0; i < 2000; i++) {
        const text = awkwardText(random, 40);
        const ids = tokenizer.encode(text);
        expect(ids).toBeInstanceOf(Int32Array);
        expect(tokenizer.decode(ids)).toBe(text.replace(/[\ud800-\udfff]/gu, "\ufffd"));
        expect(ids.every((id) => id >= 0 && id < tokenizer.baseCount)).toBe(true);
        expect(Buffer.compare(tokenizer.decodeBytes(ids), Buffer.from(text))).toBe(0);
      }
    }
  });

  it("gives the same ids in slices, and several at once", async () => {
    const tokenizer = await loadSmall("trained");
    const random = seededRandom(6);
    const texts = Array.from({ length: 30 }, (_, i) => awkwardText(random, i % 3 === 0 ? 20_000 : 50));
    const results = await Promise.all(texts.map((text) => tokenizer.encodeAsync(text)));
    for (const [i, text] of texts.entries()) {
      expect(Buffer.compare(viewOf(results[i]!), viewOf(tokenizer.encode(text)))).toBe(0);
    }
  });

  it("takes the empty text and writes lone surrogates as U+FFFD", async () => {
    const tokenizer = await loadSmall("trained");
    expect(tokenizer.encode("")).toEqual(new Int32Array(0));
    expect(await tokenizer.encodeAsync("")).toEqual(new Int32Array(0));
    for (const text of ["\ud800", "a\udc00\ud800b", "\ud800\ud800\udc00", "\udbff"]) {
      const replaced = text.replace(/[\ud800-\udfff]/gu, "\ufffd");
      expect(tokenizer.encode(text)).toEqual(tokenizer.encode(replaced));
    }
  });

  it("returns ids of its own: a later call does not change them", async () => {
    const tokenizer = await loadSmall("trained");
    const first = tokenizer.encode("Hello WORLD");
    const copy = Int32Array.from(first);
    tokenizer.encode("something else entirely");
    expect(first).toEqual(copy);
    first.fill(0);
    expect(tokenizer.encode("Hello WORLD")).toEqual(copy);
  });

  it("refuses what is no text", async () => {
    const tokenizer = await loadSmall("trained");
    for (const wrong of [undefined, null, 5, ["a"], Buffer.from("a"), new String("a")]) {
      const error = await failure(() => tokenizer.encode(wrong as string));
      expect(error).toMatchObject({ code: "invalid-argument", details: { option: "text" } });
      const later = await failure(() => tokenizer.encodeAsync(wrong as string));
      expect(later.code).toBe("invalid-argument");
    }
    const unknown = { allowSpecial: true } as object;
    for (const wrong of [{ signal: {} as AbortSignal }, new Map() as object]) {
      const { code } = await failure(() => tokenizer.encodeAsync("a", wrong));
      expect(code).toBe("invalid-argument");
    }
    expect(await failure(() => tokenizer.encodeAsync("a", unknown))).toMatchObject({
      code: "invalid-argument",
    });
  });

  it("lets the event loop turn during a long text, and stops when the signal fires", async () => {
    const tokenizer = await loadSmall("trained");
    const text = "Hello WORLD 123 ".repeat(60_000) + "a".repeat(300_000);
    let turns = 0;
    let longest = 0;
    // Processor time, so that a busy machine does not count.
    let last = process.cpuUsage();
    const turn = () => {
      const { user, system } = process.cpuUsage(last);
      longest = Math.max(longest, (user + system) / 1000);
      last = process.cpuUsage();
      turns++;
      handle = setImmediate(turn);
    };
    let handle = setImmediate(turn);
    await tokenizer.encodeAsync(text);
    clearImmediate(handle);
    expect(turns).toBeGreaterThan(10);
    // The promise is a few milliseconds; the rest is for the compiler and the collector.
    expect(longest).toBeLessThan(60);

    const controller = new AbortController();
    setImmediate(() => controller.abort());
    const error = await failure(() => tokenizer.encodeAsync(text, { signal: controller.signal }));
    expect(error.code).toBe("aborted");
    expect((await failure(() => tokenizer.encodeAsync("", { signal: AbortSignal.abort() }))).code).toBe(
      "aborted",
    );
  });

  const N = 500_000;
  it.each<[string, string]>([
    ["one letter", "a".repeat(N)],
    ["one capital letter", "A".repeat(N)],
    ["carets", "^".repeat(N)],
    ["spaces", " ".repeat(N)],
    ["tabs", "\t".repeat(N)],
    ["line feeds", "\n".repeat(N)],
    ["spaces and line feeds", " \n".repeat(N / 2)],
    ["digits", "1".repeat(N)],
    ["letters and marks", "A\u0301".repeat(N / 2)],
    ["marks", "\u0301".repeat(N)],
    ["apostrophes", "'".repeat(N)],
    ["contractions", "'s".repeat(N / 2)],
    ["two letters", "ab".repeat(N / 2)],
    ["emoji", "😀".repeat(N / 2)],
    ["one ideograph", "中".repeat(N)],
    ["lone surrogates", "\ud800".repeat(N)],
  ])("takes half a million characters of %s in linear time", async (_, text) => {
    const tokenizer = await loadSmall("trained");
    const start = performance.now();
    const ids = tokenizer.encode(text);
    // It takes 0.03 to 0.3 seconds; quadratic work on runs of 25,000 would take minutes.
    expect(performance.now() - start).toBeLessThan(6000);
    expect(Buffer.compare(tokenizer.decodeBytes(ids), Buffer.from(text))).toBe(0);
  });
});

describe("decoding", () => {
  it("knows the bytes of every token", async () => {
    const tokenizer = await loadSmall("shuffled");
    for (const [id, token] of tokensOf(smallVocabulary("shuffled")).entries()) {
      expect(Buffer.from(tokenizer.tokenBytes(id))).toEqual(token);
      tokenizer.tokenBytes(id).fill(0);
      expect(Buffer.from(tokenizer.decodeBytes([id]))).toEqual(token);
    }
    const think = tokenizer.controlId("<think>")!;
    expect(Buffer.from(tokenizer.tokenBytes(think)).toString()).toBe("<think>");
  });

  it("writes control tokens by name, or skips them", async () => {
    const tokenizer = await loadSmall("trained");
    const { thinkBegin, imEnd, firstId } = tokenizer.special;
    const ids = [thinkBegin!, ...tokenizer.encode("Hello"), firstId + 5, imEnd!];
    expect(tokenizer.decode(ids)).toBe(`<think>Hello<|reserved_token_${firstId + 5}|><|im_end|>`);
    expect(tokenizer.decode(ids, { controlTokens: "name" })).toBe(tokenizer.decode(ids));
    expect(tokenizer.decode(ids, { controlTokens: "skip" })).toBe("Hello");
    expect(tokenizer.decode([])).toBe("");
  });

  it("takes arrays and typed arrays, and replaces what is no UTF-8", async () => {
    const tokenizer = await loadSmall("trained");
    const ids = tokenizer.encode("中文 é");
    for (const list of [ids, [...ids], Float64Array.from(ids), Uint32Array.from(ids)]) {
      expect(tokenizer.decode(list)).toBe("中文 é");
    }
    const byte = tokensOf(small).findIndex((token) => token.length === 1 && token[0] === 0xe4);
    expect(tokenizer.decode([byte, ...tokenizer.encode("a")])).toBe("\ufffda");
    const long = "a longer text ".repeat(10_000);
    expect(tokenizer.decode(tokenizer.encode(long))).toBe(long);
  });

  it("refuses ids that do not exist and options that it does not know", async () => {
    const tokenizer = await loadSmall("trained");
    for (const wrong of [
      -1,
      vocabSize,
      1.5,
      Number.NaN,
      Number.POSITIVE_INFINITY,
      2 ** 32,
      "1",
      null,
      undefined,
      1n,
    ]) {
      for (const use of [
        () => tokenizer.decode([1, wrong as number]),
        () => tokenizer.decodeBytes([1, wrong as number]),
        () => tokenizer.tokenBytes(wrong as number),
        () => tokenizer.createTextDecoder().push(wrong as number),
      ]) {
        const error = await failure(use);
        expect(error.code).toBe("invalid-argument");
        expect(error.message).toContain(`a token id from 0 to ${vocabSize - 1}`);
      }
    }
    for (const wrong of [
      undefined,
      null,
      5,
      "1 2",
      { length: 1, 0: 5 },
      new DataView(new ArrayBuffer(4)),
      new Array(2 ** 31),
    ]) {
      expect((await failure(() => tokenizer.decode(wrong as number[]))).code).toBe("invalid-argument");
    }
    for (const wrong of [null, 5, { controlTokens: "hide" }, { skipSpecialTokens: true }]) {
      expect((await failure(() => tokenizer.decode([1], wrong as object))).code).toBe("invalid-argument");
      expect((await failure(() => tokenizer.createTextDecoder(wrong as object))).code).toBe(
        "invalid-argument",
      );
    }
  });
});
