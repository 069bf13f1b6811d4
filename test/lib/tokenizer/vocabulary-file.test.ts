// Every way to damage tiktoken.model, each named with file and line.

import { describe, expect, it } from "vitest";

import { K2Error } from "../../../lib/errors";
import { parseVocabulary } from "../../../lib/tokenizer/vocabulary-file";
import { seededRandom } from "../../support/random";
import { modelFile, smallVocabulary, tokensOf } from "./small-vocabularies";

const FILE = "/models/k2/tiktoken.model";
const small = smallVocabulary("trained");
const lines = modelFile(small).trimEnd().split("\n");
const base64 = (text: string | Uint8Array) => Buffer.from(text).toString("base64");

async function failure(content: string | Uint8Array, maxTokens?: number): Promise<K2Error> {
  const bytes = typeof content === "string" ? Buffer.from(content, "latin1") : content;
  try {
    await parseVocabulary(bytes, FILE, maxTokens === undefined ? {} : { maxTokens });
  } catch (error) {
    expect(error).toBeInstanceOf(K2Error);
    return error as K2Error;
  }
  throw new Error("expected a failure");
}

/** The file with line `number` (from 1) replaced. */
function withLine(number: number, line: string): string {
  return [...lines.slice(0, number - 1), line, ...lines.slice(number)].join("\n");
}

const [token300, rank300] = lines[299]!.split(" ") as [string, string];
const token400 = lines[399]!.split(" ")[0]!;

describe("parseVocabulary", () => {
  it("shows a damaged line in printable ASCII", async () => {
    const { message } = await failure("\x9b31m\x1b[2J\u00e9 300\n");
    expect(message).toMatch(/^[\x20-\x7e]+$/);
    expect(message).toContain("\\u009b31m\\u001b[2J\\u00e9 300");
  });

  it("finds every token by its bytes and by its rank", async () => {
    for (const name of ["trained", "shuffled"] as const) {
      const vocabulary = await parseVocabulary(Buffer.from(modelFile(smallVocabulary(name))), FILE);
      const tokens = tokensOf(smallVocabulary(name));
      expect(vocabulary.size).toBe(tokens.length);
      for (const [rank, token] of tokens.entries()) {
        expect(vocabulary.rankOf(token, 0, token.length)).toBe(rank);
        expect(vocabulary.bytesOf(rank)).toEqual(token);
        const longer = Buffer.concat([token, Buffer.from("\xff\xfe", "latin1")]);
        expect(vocabulary.rankOf(longer, 0, longer.length)).toBe(-1);
      }
    }
  });

  it("takes lines in any order, with or without carriage returns and a last line feed", async () => {
    for (const content of [
      [...lines].reverse().join("\n"),
      `${lines.join("\r\n")}\r\n`,
      lines.join("\n"),
      `${lines.join("\n")}\n`,
    ]) {
      const vocabulary = await parseVocabulary(Buffer.from(content), FILE);
      for (const [rank, token] of tokensOf(small).entries()) {
        expect(vocabulary.rankOf(token, 0, token.length)).toBe(rank);
      }
    }
  });

  it("takes tokens of 1024 bytes", async () => {
    const long = Buffer.alloc(1024, "x");
    const content = `${lines.join("\n")}\n${base64(long)} ${lines.length}\n`;
    const vocabulary = await parseVocabulary(Buffer.from(content), FILE);
    expect(vocabulary.rankOf(long, 0, 1024)).toBe(lines.length);
    expect(vocabulary.rankOf(long, 0, 1023)).toBe(-1);
  });

  const NOT_BASE64 = "a token in base64";
  const NO_LINE = "a token in base64, a space and a rank";
  const NO_RANK = "a rank as a decimal integer after one space";
  it.each<[string, string, string]>([
    ["a character outside the alphabet", `Z*=d ${rank300}`, "a token in base64"],
    ["the url alphabet", `Z-_d ${rank300}`, NOT_BASE64],
    ["one character too few", `Z ${rank300}`, NOT_BASE64],
    ["five characters", `ZmZmZ ${rank300}`, NOT_BASE64],
    ["missing padding", `Zg ${rank300}`, NOT_BASE64],
    ["half the padding", `Zg= ${rank300}`, NOT_BASE64],
    ["missing padding of two bytes", `ZmY ${rank300}`, NOT_BASE64],
    ["too much padding", `ZmY== ${rank300}`, NO_LINE],
    ["padding after whole groups", `ZmZm= ${rank300}`, NO_LINE],
    ["only padding", `== ${rank300}`, NO_LINE],
    ["bits in the padding of one byte", `Zh== ${rank300}`, NOT_BASE64],
    ["bits in the padding of two bytes", `ZmZ= ${rank300}`, NOT_BASE64],
    ["an empty token", ` ${rank300}`, NO_LINE],
    ["an empty line", "", NO_LINE],
    ["a space in front", ` ${token300} ${rank300}`, NO_LINE],
    ["no rank", token300, NO_LINE],
    ["no rank after the space", `${token300} `, NO_RANK],
    ["no space", `${token300}\t${rank300}`, NO_LINE],
    ["two spaces", `${token300}  ${rank300}`, NO_RANK],
    ["a space behind", `${token300} ${rank300} `, NO_RANK],
    ["a third field", `${token300} ${rank300} 7`, NO_RANK],
    ["a negative rank", `${token300} -299`, NO_RANK],
    ["a signed rank", `${token300} +299`, NO_RANK],
    ["a fraction", `${token300} 299.0`, NO_RANK],
    ["an exponent", `${token300} 3e2`, NO_RANK],
    ["a hexadecimal rank", `${token300} 0x12b`, NO_RANK],
    ["a leading zero", `${token300} 0299`, NO_RANK],
    ["a word for a rank", `${token300} none`, NO_RANK],
    ["a rank of 30 digits", `${token300} ${"9".repeat(30)}`, NO_RANK],
    ["a carriage return in the middle", `${token300} 2\r99`, NO_RANK],
    ["a NUL", `${token300}\0${rank300}`, NO_LINE],
    ["a byte order mark", `\xef\xbb\xbf${token300} ${rank300}`, NO_LINE],
    ["a rank that another line has", `${token300} 10`, "a rank that no other line has"],
    [
      "the rank behind the last",
      `${token300} ${lines.length}`,
      `a rank from 0 to ${lines.length - 1} (one per line)`,
    ],
    ["a huge rank", `${token300} 999999999`, `a rank from 0 to ${lines.length - 1} (one per line)`],
    [
      "a token of 1025 bytes",
      `${base64(Buffer.alloc(1025, "x"))} ${rank300}`,
      "a token of at most 1024 bytes",
    ],
    ["a line of a megabyte", `${"A".repeat(1 << 20)} ${rank300}`, "a token of at most 1024 bytes"],
  ])("refuses %s", async (_, line, expected) => {
    const error = await failure(withLine(300, line));
    expect(error.code).toBe("invalid-checkpoint");
    expect(error.details).toMatchObject({ file: FILE, line: 300, expected });
    expect(error.message).toContain(`Expected ${expected} for line 300 of ${FILE}, got `);
    expect(error.message.length).toBeLessThan(300);
  });

  it("refuses a token that another line has", async () => {
    const error = await failure(withLine(300, `${token400} ${rank300}`));
    expect(error.details).toMatchObject({
      file: FILE,
      line: 400,
      expected: "a token that no other line has",
    });
    expect(error.message).toContain("the token of rank 299 again");
  });

  it("refuses a file without one of the single bytes", async () => {
    const at = lines.findIndex((line) => line.startsWith(`${base64("A")} `));
    const error = await failure(withLine(at + 1, `${base64("A and more")} ${at}`));
    expect(error.details).toMatchObject({ file: FILE, got: "0x41" });
  });

  it.each([
    ["nothing", ""],
    ["one line feed", "\n"],
    ["a web page", "<html>404</html>"],
    ["a Git LFS pointer", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 2795286\n"],
    ["zeros", "\0".repeat(4096)],
    ["no line feed at all", "A".repeat(1 << 20)],
    ["a line twice", `${lines.join("\n")}\n${lines[5]}\n`],
    ["a line less", lines.slice(0, 299).concat(lines.slice(300)).join("\n")],
    ["two line feeds at the end", `${lines.join("\n")}\n\n`],
  ])("refuses %s", async (_, content) => {
    const error = await failure(content);
    expect(error.code).toBe("invalid-checkpoint");
    expect(error.details.file).toBe(FILE);
  });

  it("refuses a file of more than 16 MiB and one with more tokens than the model has rows", async () => {
    const large = await failure(new Uint8Array(16 * 1024 * 1024 + 1));
    expect(large.details).toMatchObject({ file: FILE, expected: 16_777_216, got: 16_777_217 });
    const many = await failure(lines.join("\n"), lines.length - 1);
    expect(many.details).toMatchObject({ file: FILE, expected: lines.length - 1, got: lines.length });
  });

  it("gives a typed error, or a vocabulary, for every cut and every flipped byte", async () => {
    const whole = Buffer.from(lines.slice(0, 260).join("\n"));
    const random = seededRandom(11);
    for (let i = 0; i < 400; i++) {
      const at = Math.floor(random() * whole.length);
      const flipped = Buffer.from(whole);
      flipped[at]! ^= 1 << Math.floor(random() * 8);
      for (const content of [whole.subarray(0, at), flipped]) {
        try {
          await parseVocabulary(content, FILE);
        } catch (error) {
          expect(error).toBeInstanceOf(K2Error);
          expect((error as K2Error).code).toBe("invalid-checkpoint");
        }
      }
    }
  });

  it("yields to the event loop, and stops when its signal fires", async () => {
    // 160,000 tokens, as many as Kimi has.
    const many = [...lines];
    for (let i = 0; many.length < 160_000; i++) many.push(`${base64(`token number ${i}`)} ${many.length}`);
    const content = Buffer.from(many.join("\n"));
    let turns = 0;
    const turn = () => {
      turns++;
      handle = setImmediate(turn);
    };
    let handle = setImmediate(turn);
    await parseVocabulary(content, FILE);
    clearImmediate(handle);
    // It takes 60 ms or more.
    expect(turns).toBeGreaterThan(15);

    const controller = new AbortController();
    setImmediate(() => controller.abort(new Error("enough")));
    const aborted = parseVocabulary(content, FILE, { signal: controller.signal });
    await expect(aborted).rejects.toMatchObject({ code: "aborted", cause: { message: "enough" } });
  });
});
