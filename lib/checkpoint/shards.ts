// All weight files of a folder: which there are, by index or as a single file, and the headers of all of them in one
// table. Index and headers must say the same; where they differ the error names both.

import { readdir } from "node:fs/promises";
import type { K2Error } from "../errors";
import type { TimeSlice } from "../time-slice";
import { type CheckpointFile, damaged, fileFault, fileIn } from "./faults";
import { fileSize, openFile } from "./json-file";
import { JsonStream } from "./json-stream";
import { type OpenShard, readHeader, readHeaderLength } from "./safetensors";
import { INDEX_NAME, readShardIndex, type ShardIndex, SINGLE_NAME } from "./shard-index";
import { TensorTable } from "./tensor-table";

/** Called with the phase, and how much of its total is done. */
export type Report = (phase: "index" | "headers" | "check", bytes: number, total: number) => void;

/** A weight file with its size. */
export interface WeightFile extends CheckpointFile {
  readonly bytes: number;
}

export interface Shards {
  readonly table: TensorTable;
  readonly files: readonly WeightFile[];
  /** The file that should name every tensor: the index, or the only shard. */
  readonly origin: CheckpointFile;
}

/** Reads the index, if there is one, and the headers of all shards. */
export async function readShards(folder: string, slice: TimeSlice, report: Report): Promise<Shards> {
  const stream = new JsonStream();
  const indexFile = fileIn(folder, INDEX_NAME);
  if ((await fileSize(indexFile)) === undefined) return readSingle(folder, stream, slice, report);
  const { table, shards } = await readIndex(indexFile, stream, slice, report);
  const files = await findShards(folder, shards, slice);
  const total = files.reduce((sum, file) => sum + file.bytes, 0);
  let done = 0;
  slice.onPause = () => report("headers", done, total);
  for (const [fileNumber, file] of files.entries()) {
    await withHeader(file, (shard, headerBytes) => {
      const claim = () => claimIndexed(table, files, fileNumber, stream);
      return readHeader({ stream, table, slice }, shard, fileNumber, headerBytes, claim);
    });
    done += file.bytes;
    report("headers", done, total);
  }
  checkComplete(table, files);
  return { table, files, origin: indexFile };
}

async function readSingle(
  folder: string,
  stream: JsonStream,
  slice: TimeSlice,
  report: Report,
): Promise<Shards> {
  const file = fileIn(folder, SINGLE_NAME);
  const bytes = await fileSize(file);
  if (bytes === undefined) throw await noWeights(folder);
  slice.onPause = () => report("headers", stream.offset, bytes);
  const table = await withHeader(file, async (shard, headerBytes) => {
    const table = new TensorTable(headerBytes);
    const claim = () => {
      const id = table.add(stream.text, stream.textStart, stream.textEnd);
      if (id < 0) throw stream.fault("each tensor once", `a second ${stream.textShown()}`);
      return id;
    };
    await readHeader({ stream, table, slice }, shard, 0, headerBytes, claim);
    return table;
  });
  report("headers", bytes, bytes);
  return { table, files: [{ ...file, bytes }], origin: file };
}

async function readIndex(
  file: CheckpointFile,
  stream: JsonStream,
  slice: TimeSlice,
  report: Report,
): Promise<ShardIndex> {
  const { handle, bytes } = await openFile(file);
  slice.onPause = () => report("index", stream.offset, bytes);
  try {
    const index = await readShardIndex(handle, file, bytes, stream, slice);
    report("index", bytes, bytes);
    return index;
  } catch (error) {
    throw fileFault(file, "a readable file", error);
  } finally {
    await handle.close();
  }
}

/** The files of all shards, before any is opened: a missing one is reported at once. */
async function findShards(
  folder: string,
  shards: readonly string[],
  slice: TimeSlice,
): Promise<readonly WeightFile[]> {
  const files: WeightFile[] = [];
  for (const name of shards) {
    const file = fileIn(folder, name);
    const bytes = await fileSize(file);
    if (bytes === undefined) {
      const expected = `shard ${files.length + 1} of the ${shards.length} that ${INDEX_NAME} names`;
      throw damaged({ file, expected, got: "no such file" });
    }
    files.push({ ...file, bytes });
    if (slice.isOver) await slice.pause();
  }
  return files;
}

/** Opens a shard, proves the length of its header, and closes the file whatever `read` does. */
async function withHeader<T>(
  file: CheckpointFile,
  read: (shard: OpenShard, headerBytes: number) => Promise<T>,
): Promise<T> {
  const { handle, bytes } = await openFile(file);
  try {
    const shard = { file, handle, bytes };
    return await read(shard, await readHeaderLength(shard));
  } catch (error) {
    throw fileFault(file, "a readable file", error);
  } finally {
    await handle.close();
  }
}

/** The id of the name just read in the header of a shard, which the index must place in that very shard. */
function claimIndexed(
  table: TensorTable,
  files: readonly CheckpointFile[],
  fileNumber: number,
  stream: JsonStream,
): number {
  const file = files[fileNumber]!;
  const id = table.find(stream.text, stream.textStart, stream.textEnd);
  if (id < 0) {
    const tensor = stream.textString();
    throw damaged({ file, tensor, expected: `an entry in ${INDEX_NAME}`, got: "none" });
  }
  const indexFile = table.indexFile[id]!;
  if (indexFile !== fileNumber) {
    const expected = `a place in ${files[indexFile]!.name}, as ${INDEX_NAME} says,`;
    throw damaged({ file, tensor: table.name(id), expected, got: `one in ${file.name}` });
  }
  if (table.file[id]! >= 0) throw stream.fault("each tensor once", `a second ${stream.textShown()}`);
  return id;
}

function checkComplete(table: TensorTable, files: readonly CheckpointFile[]): void {
  const id = table.file.subarray(0, table.count).indexOf(-1);
  if (id < 0) return;
  const file = files[table.indexFile[id]!]!;
  const expected = `the tensor that ${INDEX_NAME} places there`;
  throw damaged({ file, tensor: table.name(id), expected, got: "no such tensor" });
}

async function noWeights(folder: string): Promise<K2Error> {
  const names = await readdir(folder).catch(() => []);
  const others = names.filter((name) => name.endsWith(".safetensors")).length;
  return damaged({
    file: { name: folder, path: folder },
    expected: `${INDEX_NAME} or ${SINGLE_NAME}`,
    got: others === 0 ? "neither" : `neither, although there are ${others} other .safetensors files`,
  });
}
