// Headers with many tensors in any order, names that need escapes, and random damage: a header either reads as
// JSON.parse reads it, or is refused with the name of the file.

import { writeFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { JsonStream } from "../../../lib/checkpoint/json-stream";
import { readHeader, readHeaderLength } from "../../../lib/checkpoint/safetensors";
import { STORED_TYPES } from "../../../lib/checkpoint/stored-type";
import { TensorTable } from "../../../lib/checkpoint/tensor-table";
import { K2Error } from "../../../lib/errors";
import { TimeSlice } from "../../../lib/time-slice";
import { seededRandom } from "../../support/random";
import { encodeFile, type HeaderEntry } from "../../support/safetensors-writer";
import { temporaryFolder } from "../../support/write-checkpoint";

const { folder, remove } = temporaryFolder();
afterAll(remove);
const file = { name: "model.safetensors", path: join(folder, "model.safetensors") };

async function readFile(content: Uint8Array): Promise<TensorTable> {
  writeFileSync(file.path, content);
  const handle = await open(file.path);
  try {
    const shard = { file, handle, bytes: content.length };
    const headerBytes = await readHeaderLength(shard);
    const table = new TensorTable(headerBytes);
    const stream = new JsonStream();
    const reading = { stream, table, slice: new TimeSlice("opening the checkpoint") };
    await readHeader(reading, shard, 0, headerBytes, () => {
      const id = table.add(stream.text, stream.textStart, stream.textEnd);
      if (id < 0) throw stream.fault("each tensor once", "a second one");
      return id;
    });
    return table;
  } finally {
    await handle.close();
  }
}

/** A header of `count` tensors of every type and rank, and the bytes of data that they need. */
function randomHeader(count: number, seed: number): { entries: [string, HeaderEntry][]; dataBytes: number } {
  const random = seededRandom(seed);
  const below = (limit: number) => Math.floor(random() * limit);
  const entries: [string, HeaderEntry][] = [];
  let end = 0;
  for (let i = 0; i < count; i++) {
    const { name, bits } = STORED_TYPES[below(STORED_TYPES.length)]!;
    const shape = Array.from({ length: below(5) }, () => below(4));
    // Types of less than a byte need a whole number of bytes.
    if (bits % 8 !== 0) shape.push(8);
    const begin = end;
    end += (shape.reduce((product, size) => product * size, 1) * bits) / 8;
    const label = `tensor \u20ac "${i}" ${"\\".repeat(below(3))}`;
    entries.push([label, { dtype: name, shape, data_offsets: [begin, end] }]);
  }
  return { entries, dataBytes: end };
}

function shuffled<T>(items: readonly T[], seed: number): T[] {
  const random = seededRandom(seed);
  return items
    .map((item) => [random(), item] as const)
    .sort(([a], [b]) => a - b)
    .map(([, item]) => item);
}

function expectTable(table: TensorTable, entries: readonly [string, HeaderEntry][], dataStart: number): void {
  expect(table.count).toBe(entries.length);
  entries.forEach(([name, { dtype, shape, data_offsets }], id) => {
    expect(table.name(id)).toBe(name);
    expect(STORED_TYPES[table.type[id]!]!.name).toBe(dtype);
    expect([...table.shape(id)]).toEqual(shape);
    expect(table.offset[id]).toBe(dataStart + data_offsets[0]!);
    expect(table.bytes[id]).toBe(data_offsets[1]! - data_offsets[0]!);
    const encoded = Buffer.from(`__${name}__`);
    expect(table.find(encoded, 2, encoded.length - 2)).toBe(id);
    expect(table.find(encoded, 1, encoded.length - 2)).toBe(-1);
  });
}

describe("sound headers", () => {
  it.each([
    ["in the order of their data", false, 500],
    ["in any order", true, 500],
    ["30,000 tensors in any order, more than the window", true, 30_000],
  ])("%s", async (_, shuffle, count) => {
    const { entries, dataBytes } = randomHeader(count, count);
    const list = shuffle ? shuffled(entries, 1) : entries;
    const content = encodeFile(JSON.stringify(Object.fromEntries(list)), new Uint8Array(dataBytes));
    if (count > 10_000) expect(content.length - dataBytes).toBeGreaterThan(2 << 20);
    expectTable(await readFile(content), list, content.length - dataBytes);
  });

  it("no tensors, no padding, spaces anywhere, keys in any order, null metadata", async () => {
    expect((await readFile(encodeFile("{}", new Uint8Array(0), false))).count).toBe(0);
    const entry = '\n"a" : { "data_offsets" : [ 0 ,3 ] , "shape":[ 3\t], "dtype" : "U8" } ';
    for (const metadata of [
      "",
      '"__metadata__":null,',
      '"__metadata__": { "a" : "b" } ,',
      '"__metadata__":{},',
    ]) {
      const content = encodeFile(`{${metadata}${entry}}  \n`, new Uint8Array(3), false);
      expect((await readFile(content)).bytes[0]).toBe(3);
    }
  });

  it("scalars and empty tensors between others", async () => {
    const entries: [string, HeaderEntry][] = [
      ["a", { dtype: "F32", shape: [], data_offsets: [0, 4] }],
      ["b", { dtype: "F32", shape: [0, 7], data_offsets: [4, 4] }],
      ["c", { dtype: "BF16", shape: [1, 1], data_offsets: [4, 6] }],
      ["d", { dtype: "BF16", shape: [0], data_offsets: [6, 6] }],
    ];
    for (const list of [entries, entries.toReversed()]) {
      const content = encodeFile(JSON.stringify(Object.fromEntries(list)), new Uint8Array(6));
      expectTable(await readFile(content), list, content.length - 6);
    }
  });
});

describe("random damage", () => {
  it("one byte of the header changed: reads as JSON.parse reads it, or is refused", async () => {
    const { entries, dataBytes } = randomHeader(12, 5);
    const content = encodeFile(JSON.stringify(Object.fromEntries(entries)), new Uint8Array(dataBytes));
    const headerEnd = content.length - dataBytes;
    const random = seededRandom(11);
    let refused = 0;
    for (let i = 0; i < 1500; i++) {
      const damaged = Buffer.from(content);
      const at = 8 + Math.floor(random() * (headerEnd - 8));
      const likely = '"{}[],:0123456789\\ -.eu';
      const byte = random() < 0.7 ? likely.charCodeAt(Math.floor(random() * likely.length)) : random() * 256;
      damaged[at] = byte;
      const table = await readFile(damaged).catch((error: unknown) => error);
      if (table instanceof TensorTable) {
        const parsed = JSON.parse(damaged.toString("utf8", 8, headerEnd)) as Record<string, HeaderEntry>;
        expectTable(table, Object.entries(parsed), headerEnd);
      } else {
        refused++;
        expect(table).toBeInstanceOf(K2Error);
        expect((table as K2Error).code).toBe("invalid-checkpoint");
        expect((table as K2Error).message).toContain(file.name);
      }
    }
    expect(refused).toBeGreaterThan(700);
    expect(refused).toBeLessThan(1500);
  });

  it("extents that do not tile the data are refused in any order of entries", async () => {
    const random = seededRandom(17);
    const below = (limit: number) => Math.floor(random() * limit);
    let refused = 0;
    for (let i = 0; i < 400; i++) {
      const entries: Record<string, HeaderEntry> = {};
      const tiles = new Uint8Array(24);
      const count = 2 + below(3);
      let cut = 0;
      for (let k = 0; k < count; k++) {
        const isLast = k === count - 1;
        // Mostly one behind the other, sometimes anywhere.
        const begin = random() < 0.8 ? cut : below(20);
        const end = isLast && random() < 0.8 ? 24 : Math.min(24, begin + below(12));
        if (end < begin) continue;
        entries[`t${k}`] = { dtype: "U8", shape: [end - begin], data_offsets: [begin, end] };
        for (let at = begin; at < end; at++) tiles[at]!++;
        cut = end;
      }
      const list = Object.fromEntries(shuffled(Object.entries(entries), i));
      const table = await readFile(encodeFile(JSON.stringify(list), new Uint8Array(24))).catch(
        (e: unknown) => e,
      );
      if (tiles.every((times) => times === 1)) continue;
      refused++;
      expect(table).toBeInstanceOf(K2Error);
    }
    expect(refused).toBeGreaterThan(50);
  });
});
