// The byte scanner agrees with JSON.parse about strings and numbers, wherever its window ends.

import { writeFileSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { join } from "node:path";
import fastCheck from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { JsonStream } from "../../../lib/checkpoint/json-stream";
import { K2Error } from "../../../lib/errors";
import { seededRandom } from "../../support/random";
import { temporaryFolder } from "../../support/write-checkpoint";

const { folder, remove } = temporaryFolder();
afterAll(remove);

async function withText<T>(
  text: string | Uint8Array,
  read: (stream: JsonStream) => T | Promise<T>,
): Promise<T> {
  const file = { name: "text.json", path: join(folder, "text.json") };
  writeFileSync(file.path, text);
  const handle: FileHandle = await open(file.path);
  try {
    const stream = new JsonStream();
    await stream.open(handle, file, 0, Buffer.byteLength(text));
    return await read(stream);
  } finally {
    await handle.close();
  }
}

const readString = (text: string | Uint8Array) =>
  withText(text, (stream) => {
    stream.string("a string");
    return stream.textString();
  });

describe("strings", () => {
  it("read like JSON.parse reads them", async () => {
    const anyString = fastCheck.oneof(
      fastCheck.string({ unit: "grapheme" }),
      fastCheck.string({ unit: "binary" }),
      fastCheck.string(),
    );
    await fastCheck.assert(
      fastCheck.asyncProperty(anyString, fastCheck.boolean(), async (value, escapeAll) => {
        const plain = JSON.stringify(value);
        const text = escapeAll ? `"${[...value].map(escapeCharacter).join("")}"` : plain;
        expect(await readString(text)).toBe(value);
      }),
      { numRuns: 300 },
    );
  });

  function escapeCharacter(character: string): string {
    const units = Array.from({ length: character.length }, (_, i) => character.charCodeAt(i));
    return units.map((unit) => `\\u${unit.toString(16).padStart(4, "0").toUpperCase()}`).join("");
  }

  it.each([
    String.raw`"\ud800"`,
    String.raw`"\ud800\u0041"`,
    String.raw`"\udc00"`,
    String.raw`"\ud83dx\ude00"`,
    String.raw`"\u00g0"`,
    String.raw`"\u 123"`,
    String.raw`"\v"`,
    '"\\',
    String.raw`"\u12`,
    '"open',
    '"tab\t"',
    '"\0"',
    "open",
    "",
  ])("refuses %j", async (text) => {
    await expect(readString(text)).rejects.toBeInstanceOf(K2Error);
  });

  it.each([[0xff], [0xc0, 0x80], [0xed, 0xa0, 0x80], [0xf4, 0x90, 0x80, 0x80], [0xe2, 0x82], [0x80]])(
    "refuses the bytes %j %j %j %j",
    async (...bytes) => {
      const text = Buffer.from([0x22, ...bytes.filter((byte) => byte !== undefined), 0x22]);
      await expect(readString(text)).rejects.toThrow("UTF-8");
    },
  );
});

describe("numbers and values", () => {
  it("counts are integers up to 2^53 - 1", async () => {
    for (const value of [0, 1, 9, 10, 4294967296, Number.MAX_SAFE_INTEGER]) {
      expect(await withText(`${value},`, (stream) => stream.count("a count"))).toBe(value);
    }
    const wrong = [
      "-1",
      "01",
      "00",
      "1.0",
      "1e3",
      "1E3",
      ".5",
      "9007199254740992",
      "9".repeat(500),
      "x",
      '"1"',
      "1",
    ];
    for (const text of wrong) {
      await expect(withText(text, (stream) => stream.count("a count"))).rejects.toBeInstanceOf(K2Error);
    }
  });

  it("skips exactly what JSON.parse accepts", async () => {
    const skips = (text: string) =>
      withText(text, async (stream) => {
        stream.skipValue("a value");
        return stream.atEnd();
      }).catch(() => false);
    const parses = (text: string) => {
      try {
        JSON.parse(text);
        return true;
      } catch {
        return false;
      }
    };
    const random = seededRandom(7);
    const pieces = [
      "{",
      "}",
      "[",
      "]",
      ",",
      ":",
      '"a"',
      '"',
      "1",
      "-",
      "0",
      ".",
      "e",
      "+",
      "true",
      "null",
      " ",
      "tru",
      "\\",
    ];
    const samples = [
      "-0",
      "1.5e-7",
      "[]",
      "{}",
      '{"a":[1,{"b":null}],"c":false}',
      "1.",
      "-",
      "01",
      "[1,]",
      "nul",
      "1e",
      "",
    ];
    for (let i = 0; i < 400; i++) {
      const length = 1 + Math.floor(random() * 6);
      const pick = () => pieces[Math.floor(random() * pieces.length)];
      samples.push(Array.from({ length }, pick).join(""));
    }
    samples.push(...fastCheck.sample(fastCheck.json({ maxDepth: 4 }), { numRuns: 100, seed: 7 }));
    for (const text of samples) expect(await skips(text), text).toBe(parses(text));
    expect(samples.filter(parses).length).toBeGreaterThan(120);
  });
});

it("reads on behind the window, whatever the window cuts", async () => {
  const random = seededRandom(3);
  const items = Array.from(
    { length: 60_000 },
    (_, i) => `${i}-${"x".repeat(Math.floor(random() * 120))}\u20ac\n`,
  );
  const text = JSON.stringify(items);
  expect(text.length).toBeGreaterThan(4 << 20);
  await withText(text, async (stream) => {
    const read: string[] = [];
    stream.take("[");
    do {
      if (stream.short) await stream.fill();
      stream.string("an item");
      read.push(stream.textString());
    } while (stream.takeIf(","));
    stream.take("]");
    expect(await stream.atEnd()).toBe(true);
    expect(stream.offset).toBe(Buffer.byteLength(text));
    expect(read).toEqual(items);
  });
});
