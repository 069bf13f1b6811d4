// The two tokenizer files of a checkpoint folder. An absent file is `missing-tokenizer`, which a caller may keep for
// later; one that is there but is no readable file of a sensible size is an error at once.

import { open, stat } from "node:fs/promises";
import { join } from "node:path";

import { K2Error } from "../errors";
import { printable } from "./printable";
import { MAX_VOCABULARY_FILE_BYTES } from "./vocabulary-file";

/** Ordinary tokens, a line each. */
export const VOCABULARY_FILE = "tiktoken.model";
/** Declares the control tokens. */
export const CONFIGURATION_FILE = "tokenizer_config.json";

// JSON.parse cannot be cut into slices; this much takes it a few milliseconds. Kimi's file has 5 KB.
const MAX_CONFIGURATION_BYTES = 1024 * 1024;

export interface TokenizerFiles {
  /** Content of `tiktoken.model`. */
  vocabulary: Uint8Array;
  /** Content of `tokenizer_config.json`. */
  configuration: Uint8Array;
  /** The folder, for errors; default: the bare file names are shown. */
  folder?: string;
}

export async function readTokenizerFiles(folder: string): Promise<TokenizerFiles> {
  const vocabulary = await readFile(join(folder, VOCABULARY_FILE), MAX_VOCABULARY_FILE_BYTES);
  const configuration = await readFile(join(folder, CONFIGURATION_FILE), MAX_CONFIGURATION_BYTES);
  return { vocabulary, configuration, folder };
}

/** Parses tokenizer_config.json. Throws `invalid-checkpoint`. */
export function parseConfiguration(content: Uint8Array, file: string): unknown {
  checkSize(file, content.length, MAX_CONFIGURATION_BYTES);
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(content));
  } catch (cause) {
    // The message quotes the file, line breaks and all.
    const got = printable(cause instanceof Error ? cause.message : String(cause));
    throw new K2Error(
      "invalid-checkpoint",
      `Expected JSON in UTF-8 for ${file}, got ${got}`,
      { file, expected: "JSON in UTF-8", got },
      { cause },
    );
  }
}

async function readFile(file: string, maxBytes: number): Promise<Uint8Array> {
  try {
    // Asked before opening: to open a pipe would wait for its other end.
    const found = await stat(file);
    if (!found.isFile()) {
      throw new K2Error("invalid-checkpoint", `Expected a regular file for ${file}, got something else`, {
        file,
      });
    }
    checkSize(file, found.size, maxBytes);
    const handle = await open(file, "r");
    try {
      return await readAll(handle, found.size);
    } finally {
      await handle.close();
    }
  } catch (cause) {
    throw asK2Error(cause, file);
  }
}

async function readAll(handle: Awaited<ReturnType<typeof open>>, size: number): Promise<Uint8Array> {
  const content = new Uint8Array(size);
  let length = 0;
  while (length < size) {
    const { bytesRead } = await handle.read(content, length, size - length, length);
    if (bytesRead === 0) break;
    length += bytesRead;
  }
  return content.subarray(0, length);
}

function checkSize(file: string, got: number, expected: number): void {
  if (got <= expected) return;
  const message = `Expected at most ${expected} bytes for ${file}, got ${got}`;
  throw new K2Error("invalid-checkpoint", message, { file, expected, got });
}

function asK2Error(cause: unknown, file: string): K2Error {
  if (cause instanceof K2Error) return cause;
  const code = (cause as NodeJS.ErrnoException).code;
  if (code === "ENOENT" || code === "ENOTDIR") {
    const message = `Expected the tokenizer file ${file} for text features, got none. Token ids work without it.`;
    return new K2Error("missing-tokenizer", message, { file }, { cause });
  }
  const expected = "a readable file";
  const got = code ?? "an unknown error";
  return new K2Error(
    "io",
    `Expected ${expected} for ${file}, got ${got}`,
    { file, expected, got },
    { cause },
  );
}
