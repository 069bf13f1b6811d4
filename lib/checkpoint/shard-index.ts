// Which file holds which tensor: model.safetensors.index.json (tens of MB for a trillion parameters, read as a stream
// of bytes) or, without one, the single model.safetensors. Shard names are names of files in the folder, nothing else.

import type { FileHandle } from "node:fs/promises";
import type { TimeSlice } from "../time-slice";
import { type CheckpointFile, damaged, printable } from "./faults";
import type { JsonStream } from "./json-stream";
import { TensorTable } from "./tensor-table";

export const INDEX_NAME = "model.safetensors.index.json";
export const SINGLE_NAME = "model.safetensors";

/** Far above any published index; 208,215 tensors take about 20 MB. */
const MAX_INDEX_BYTES = 512 << 20;

/** The tensors by name with the number of their shard, and the names of the shards in order of first mention. */
export interface ShardIndex {
  readonly table: TensorTable;
  readonly shards: readonly string[];
}

/** Reads the index. `total_size` and other metadata are skipped: they are not reliable in published files. */
export async function readShardIndex(
  handle: FileHandle,
  file: CheckpointFile,
  bytes: number,
  stream: JsonStream,
  slice: TimeSlice,
): Promise<ShardIndex> {
  if (bytes > MAX_INDEX_BYTES) {
    throw damaged({ file, expected: `at most ${MAX_INDEX_BYTES} bytes`, got: `${bytes} bytes` });
  }
  await stream.open(handle, file, 0, bytes);
  slice.checkAbort();
  let index: ShardIndex | undefined;
  stream.take("{");
  if (!stream.takeIf("}")) {
    do {
      if (stream.short) await stream.fill();
      stream.string("a key of the index");
      const isMap = stream.textIs("weight_map");
      stream.take(":");
      if (!isMap) {
        stream.skipValue("a JSON value");
      } else {
        if (index !== undefined) throw stream.fault("one weight_map", "a second one");
        index = await readWeightMap(file, bytes, stream, slice);
      }
      if (slice.isOver) await slice.pause();
    } while (stream.takeIf(","));
    stream.take("}");
  }
  if (!(await stream.atEnd())) throw stream.unexpected("nothing after the index");
  if (index === undefined || index.table.count === 0) {
    throw damaged({
      file,
      key: "weight_map",
      expected: "an object with every tensor's shard",
      got: index === undefined ? "nothing" : "an empty one",
    });
  }
  return index;
}

async function readWeightMap(
  file: CheckpointFile,
  bytes: number,
  stream: JsonStream,
  slice: TimeSlice,
): Promise<ShardIndex> {
  const table = new TensorTable(bytes);
  const shards: string[] = [];
  const numbers = new Map<string, number>();
  let current = -1;
  const currentName = () => table.name(current);
  stream.take("{");
  if (stream.takeIf("}")) return { table, shards };
  do {
    if (stream.short) await stream.fill();
    stream.string("a tensor name");
    current = table.add(stream.text, stream.textStart, stream.textEnd);
    if (current < 0) throw stream.fault("each tensor once in weight_map", `a second ${stream.textShown()}`);
    stream.tensor = currentName;
    stream.take(":");
    stream.string("the name of a shard");
    const latest = shards.length - 1;
    // Neighbours mostly share their shard; only a change of shard makes a string.
    if (latest >= 0 && stream.textIs(shards[latest]!)) {
      table.indexFile[current] = latest;
    } else {
      const name = stream.textString();
      let number = numbers.get(name);
      if (number === undefined) {
        checkShardName(name, file, currentName);
        number = shards.push(name) - 1;
        numbers.set(name, number);
      }
      table.indexFile[current] = number;
    }
    stream.tensor = undefined;
    if (slice.isOver) await slice.pause();
  } while (stream.takeIf(","));
  stream.take("}");
  return { table, shards };
}

/** Refuses every name that is not a plain file name, so that an index can never point out of its folder. */
function checkShardName(name: string, file: CheckpointFile, tensor: () => string): void {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is refused here
  const isPlain = /^[^/\\:\x00-\x1f\x7f]+\.safetensors$/.test(name) && Buffer.byteLength(name) <= 255;
  if (isPlain) return;
  throw damaged({
    file,
    tensor: tensor(),
    expected: "a shard named like a file of this folder, ending in .safetensors,",
    got: `"${printable(name, 80)}"`,
  });
}
