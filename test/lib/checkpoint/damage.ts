// A sound checkpoint of two shards that tests damage in one place at a time, and what every damage must give: a K2Error
// with the right code whose message names the file and the tensor or key.

import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeEach, describe, expect, it } from "vitest";
import { openCheckpoint } from "../../../lib/checkpoint/open-checkpoint";
import { K2Error, type K2ErrorCode } from "../../../lib/errors";
import { encodeFile, type HeaderEntry, headerOf, type TensorData } from "../../support/safetensors-writer";
import {
  dealTensors,
  int4Quantization,
  makeTensors,
  temporaryFolder,
  tinyConfig,
  writeCheckpoint,
} from "../../support/write-checkpoint";

export const SHARD_1 = "model-00001-of-000002.safetensors";
export const SHARD_2 = "model-00002-of-000002.safetensors";
export const INDEX = "model.safetensors.index.json";
export const CONFIG = "config.json";

export const invalid = "invalid-checkpoint";
export const unsupported = "unsupported-checkpoint";

export const config = tinyConfig({ quantization_config: int4Quantization() });
export const tensors = makeTensors(config, { experts: "INT4" });
const shards = dealTensors(tensors, 2);
const { folder: root, remove } = temporaryFolder();
/** The folder of the checkpoint, written anew before every test. */
export const folder = join(root, "checkpoint");

export const path = (name: string) => join(folder, name);
export const inShard = (name: string) => shards.get(name)!;
/** The first two tensors of the first shard; the first one is the embedding, [320, 64] in BF16. */
export const first = inShard(SHARD_1)[0]!.name;
export const second = inShard(SHARD_1)[1]!.name;

export function dataOf(list: readonly TensorData[]): Buffer {
  return Buffer.concat(list.map(({ data }) => data));
}

export function offsetsOf(tensor: string): number[] {
  return headerOf(inShard(shardOf(tensor)))[tensor]!.data_offsets;
}

function shardOf(tensor: string): string {
  return inShard(SHARD_1).some(({ name }) => name === tensor) ? SHARD_1 : SHARD_2;
}

/** Changes keys in the header entry of `tensor`, or removes them with undefined; the data stays. */
export function editEntry(tensor: string, change: Record<string, unknown>): void {
  const shard = shardOf(tensor);
  const entries = headerOf(inShard(shard));
  entries[tensor] = { ...entries[tensor], ...change } as HeaderEntry;
  writeFileSync(path(shard), encodeFile(JSON.stringify(entries), dataOf(inShard(shard))));
}

/** Changes the header text of the first shard; the data stays. */
export function editText(edit: (text: string) => string): void {
  const text = JSON.stringify(headerOf(inShard(SHARD_1)));
  const edited = edit(text);
  expect(edited).not.toBe(text);
  writeFileSync(path(SHARD_1), encodeFile(edited, dataOf(inShard(SHARD_1))));
}

/** Puts entries in front of the header text of the first shard. */
export function addFirst(entries: string): void {
  editText((text) => `{${entries},${text.slice(1)}`);
}

/** Changes tensors, or removes them with null, adds others, and writes everything again, index included. */
export function rebuild(replace: Record<string, Partial<TensorData> | null>, extra: TensorData[] = []): void {
  const changed = tensors.flatMap((tensor) => {
    const change = replace[tensor.name];
    return change === null ? [] : [{ ...tensor, ...change }];
  });
  writeCheckpoint(folder, { config, tensors: [...changed, ...extra], shards: 2 });
}

export function zeros(name: string, dtype: string, shape: number[], bytes: number): TensorData {
  return { name, dtype, shape, data: new Uint8Array(bytes) };
}

export function indexMap(): Record<string, string> {
  const index = JSON.parse(readFileSync(path(INDEX), "utf8")) as { weight_map: Record<string, string> };
  return index.weight_map;
}

export function writeIndex(weight_map: unknown): void {
  writeFileSync(path(INDEX), JSON.stringify({ weight_map }));
}

/** What is damaged, the code of the error, texts in its message, and the damage. */
export type Damage = [what: string, code: K2ErrorCode, names: string[], damage: () => void];

/** Opens the damaged checkpoint and checks the error. */
export async function expectRefusal(code: K2ErrorCode, names: readonly string[]): Promise<void> {
  const error: unknown = await openCheckpoint(folder).then(
    () => new Error("the checkpoint opened"),
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(K2Error);
  const { message, details, code: got } = error as K2Error;
  for (const name of names) expect(message).toContain(name);
  expect(got, message).toBe(code);
  expect(message).toMatch(/^Expected [ -~]+ for [ -~]+, got [ -~]+$/);
  expect(message.length).toBeLessThan(700);
  expect(details.file).toEqual(expect.stringContaining(folder));
}

/** Registers a test for each damage, and one that the sound checkpoint opens. */
export function testDamages(kinds: Record<string, Damage[]>): void {
  beforeEach(() => {
    rmSync(folder, { recursive: true, force: true });
    writeCheckpoint(folder, { config, tensors, shards: 2 });
  });
  afterAll(remove);

  it("the undamaged checkpoint opens", async () => {
    expect((await openCheckpoint(folder)).tensorCount).toBe(tensors.length);
  });
  describe.each(Object.entries(kinds))("%s", (_, damages) => {
    it.each(damages)("%s", async (_what, code, names, damage) => {
      damage();
      await expectRefusal(code, names);
    });
  });
}
