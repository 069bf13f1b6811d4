// Small JSON files of a checkpoint (config.json, generation_config.json): read whole, but only after size and nesting
// were checked on the bytes, because JSON.parse accepts millions of levels and many times the file in memory.

import { constants } from "node:fs";
import { type FileHandle, open, stat } from "node:fs/promises";
import { type CheckpointFile, damaged, fileFault, isAbsent, printable } from "./faults";

const MAX_BYTES = 1 << 20;
const MAX_DEPTH = 32;

/** A parsed JSON object. Read its fields with `Object.hasOwn`: keys come from a file. */
export type JsonObject = Readonly<Record<string, unknown>>;

/** Opens a regular file and gives its size. Pipes and devices are refused before opening, which could wait forever. */
export async function openFile(file: CheckpointFile): Promise<{ handle: FileHandle; bytes: number }> {
  let handle: FileHandle | undefined;
  try {
    await expectFile(file);
    handle = await open(file.path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
    const { size } = await handle.stat();
    return { handle, bytes: size };
  } catch (error) {
    await handle?.close();
    throw fileFault(file, "a readable file", error);
  }
}

/** The size of a regular file, or undefined when nothing is there. Links are followed. */
export async function fileSize(file: CheckpointFile): Promise<number | undefined> {
  try {
    return await expectFile(file);
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw fileFault(file, "a readable file", error);
  }
}

async function expectFile(file: CheckpointFile): Promise<number> {
  const status = await stat(file.path);
  if (status.isFile()) return status.size;
  const got = status.isDirectory() ? "a folder" : "something that is not a regular file";
  throw damaged({ file, expected: "a file", got });
}

/** Reads a file of at most 1 MiB; a larger one is refused by its size, before anything of it is read. */
export async function readSmallFile(file: CheckpointFile): Promise<Buffer> {
  const { handle, bytes } = await openFile(file);
  try {
    if (bytes > MAX_BYTES) {
      throw damaged({ file, expected: `at most ${MAX_BYTES} bytes`, got: `${bytes} bytes` });
    }
    const text = Buffer.alloc(bytes);
    for (let end = 0; end < bytes; ) {
      const { bytesRead } = await handle.read(text, end, bytes - end, end);
      if (bytesRead === 0) throw damaged({ file, expected: `${bytes} bytes`, got: `${end} bytes` });
      end += bytesRead;
    }
    return text;
  } catch (error) {
    throw fileFault(file, "a readable file", error);
  } finally {
    await handle.close();
  }
}

/** Reads a JSON object of at most 1 MiB and 32 levels. */
export async function readJsonFile(file: CheckpointFile): Promise<JsonObject> {
  const text = await readSmallFile(file);
  checkBytes(text, file);
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(text));
  } catch (error) {
    const got = printable((error as Error).message.replace(/\s+/g, " "), 200);
    throw damaged({ file, expected: "valid JSON", got }, error);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw damaged({
      file,
      expected: "a JSON object",
      got: Array.isArray(value) ? "an array" : String(value),
    });
  }
  return value as JsonObject;
}

/**
 * Refuses deep nesting, and the NaN and Infinity that Python writes into JSON: JSON.parse would not name their key.
 * Everything else is left to JSON.parse.
 */
function checkBytes(text: Buffer, file: CheckpointFile): void {
  let depth = 0;
  let stringStart = -1;
  // The string read last: the key of what follows.
  let keyStart = 0;
  let keyEnd = 0;
  for (let i = 0; i < text.length; i++) {
    const byte = text[i]!;
    if (stringStart >= 0) {
      if (byte === 0x5c) i++;
      if (byte !== 0x22) continue;
      keyStart = stringStart;
      keyEnd = i;
      stringStart = -1;
    } else if (byte === 0x22) {
      stringStart = i + 1;
    } else if (byte === 0x7b || byte === 0x5b) {
      if (++depth > MAX_DEPTH) {
        throw damaged({ file, expected: `JSON nested at most ${MAX_DEPTH} deep`, got: "deeper nesting" });
      }
    } else if (byte === 0x7d || byte === 0x5d) {
      depth--;
    } else if (byte === 0x4e || byte === 0x49) {
      const word = /^[A-Za-z]{1,20}/.exec(text.toString("latin1", i, i + 20))![0];
      const key = text.toString("latin1", keyStart, keyEnd);
      throw damaged({ file, key, expected: "a finite number", got: word });
    }
  }
}
