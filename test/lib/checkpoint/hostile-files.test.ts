// Small files made to cost much: each is opened in a fresh process and must be refused within 64 MiB of memory, in time
// that is linear in its size, without holding the event loop.

import { mkdirSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { compileCheckpointRoom, measureOpen } from "../../support/compiled-library";
import { encodeFile } from "../../support/safetensors-writer";
import { makeTensors, temporaryFolder, tinyConfig, writeCheckpoint } from "../../support/write-checkpoint";

const { folder: root, remove } = temporaryFolder();
const library = join(root, "library");
beforeAll(() => {
  mkdirSync(library);
  compileCheckpointRoom(library);
}, 120_000);
afterAll(remove);

const MEGABYTE = 1 << 20;
const config = tinyConfig();
const nothing = new Uint8Array(0);
const SINGLE = "model.safetensors";
const INDEX = "model.safetensors.index.json";

const many = (count: number, entry: (i: number) => string) =>
  Array.from({ length: count }, (_, i) => entry(i)).join(",");
const emptyTensor = (i: number) => `"t${i}":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}`;

type Hostile = [what: string, file: string, says: string, content: (path: string) => void];
const header = (text: string) => (path: string) => writeFileSync(path, encodeFile(text, nothing));
const hole = (bytes: number) => (path: string) => {
  writeFileSync(path, "");
  truncateSync(path, bytes);
};
const text = (content: string) => (path: string) => writeFileSync(path, content);

const cases: Hostile[] = [
  ["a million brackets", SINGLE, "a tensor name", header(`{${"[".repeat(MEGABYTE)}`)],
  ["a million objects", SINGLE, "dtype", header(`{${'"a":{'.repeat(MEGABYTE / 5)}`)],
  ["a name of a megabyte", SINGLE, "dtype", header(`{"${"n".repeat(MEGABYTE - 100)}":{}}`)],
  ["a name of two megabytes", SINGLE, "1048576 bytes", header(`{"${"n".repeat(2 * MEGABYTE)}":{}}`)],
  ["a name of escapes", SINGLE, "dtype", header(`{"${"\\u20ac".repeat(MEGABYTE / 8)}":{}}`)],
  ["spaces", SINGLE, "1048576 bytes", header(`{${" ".repeat(8 * MEGABYTE)}`)],
  ["20,000 empty tensors", SINGLE, "embed_tokens", header(`{${many(20_000, emptyTensor)}}`)],
  ["400,000 empty tensors", SINGLE, "embed_tokens", header(`{${many(400_000, emptyTensor)}}`)],
  ["one name 20,000 times", SINGLE, "once", header(`{${many(20_000, () => emptyTensor(0))}}`)],
  [
    "20,000 keys of metadata",
    SINGLE,
    "embed_tokens",
    header(`{"__metadata__":{${many(20_000, (i) => `"${i}":""`)}}}`),
  ],
  ["a long number", SINGLE, "2^53", header(`{"a":{"shape":[${"9".repeat(MEGABYTE / 2)}]}}`)],
  ["many dimensions", SINGLE, "dimensions", header(`{"a":{"shape":[${"1,".repeat(MEGABYTE / 2)}1]}}`)],
  [
    "a hole of 99 MB as header",
    SINGLE,
    "tensor name",
    (path) => {
      const prefix = Buffer.alloc(9, "{");
      prefix.writeBigUInt64LE(99_000_000n);
      writeFileSync(path, prefix);
      truncateSync(path, 99_000_008);
    },
  ],
  ["a hole of 400 MB as index", INDEX, "'{'", hole(400e6)],
  ["a hole of 1 GB as index", INDEX, "at most", hole(1e9)],
  [
    "20,000 shards",
    INDEX,
    "no such file",
    text(`{"weight_map":{${many(20_000, (i) => `"t${i}":"${i}.safetensors"`)}}}`),
  ],
  ["an index of brackets", INDEX, "nested", text(`{"metadata":${"[".repeat(MEGABYTE)}`)],
  ["an index of numbers", INDEX, "weight_map", text(`{"metadata":[${"1,".repeat(MEGABYTE / 4)}1]}`)],
  ["a config of empty objects", "config.json", "model_type", text(`{"a":[${"{},".repeat(MEGABYTE / 4)}0]}`)],
  ["a config of keys", "config.json", "model_type", text(`{${many(90_000, (i) => `"k${i}":1`)}}`)],
  ["a config of brackets", "config.json", "nested", text("[".repeat(MEGABYTE))],
  [
    "a config with 4096 layers and 65,536 experts",
    "config.json",
    "model.layers.1",
    text(JSON.stringify(tinyConfig({ num_hidden_layers: 4096, n_routed_experts: 65_536 }))),
  ],
];

it.each(cases)("%s", async (what, file, says, content) => {
  const folder = join(root, what.replace(/\W+/g, "-"));
  writeCheckpoint(folder, { config, tensors: makeTensors(config), shards: file === INDEX ? 1 : 0 });
  content(join(folder, file));
  const measured = await measureOpen(folder, library);
  expect(measured.error).toMatch(/^(?:in|un)\w+-checkpoint: Expected [ -~]+ for [ -~]+, got [ -~]+$/);
  expect(measured.error).toContain(says);
  expect(measured.error!.length).toBeLessThan(700);
  expect(measured.peakRss - measured.rssBefore).toBeLessThan(64 * MEGABYTE);
  expect(measured.cpuMs).toBeLessThan(3000);
  expect(measured.heldMs).toBeLessThan(100);
});
