// Opens a published checkpoint folder: config, index, the header of every shard, and then the check of every tensor
// against the config. Only headers are read; a 594 GB model opens in about a second.

import { stat } from "node:fs/promises";
import { resolve } from "node:path";
import type { ModelSpec, WeightTable } from "../addon/contract";
import { checkSignal, invalidArgument, refuseUnknownKeys, requireObject } from "../check";
import { K2Error } from "../errors";
import { TimeSlice } from "../time-slice";
import { ConfigReader } from "./config-reader";
import { damaged, fileFault, fileIn, printable } from "./faults";
import { fileSize, type JsonObject, readJsonFile } from "./json-file";
import { type ModelConfig, parseModelConfig } from "./model-config";
import { toModelSpec } from "./model-spec";
import { type Report, readShards, type WeightFile } from "./shards";
import type { StorageShare } from "./storage-shares";
import { buildWeightTable } from "./weight-table";

/** How far opening has come. */
export interface OpenProgress {
  /** `index`: bytes of the index read. `headers`: sizes of the files opened. `check`: bytes of weights checked. */
  readonly phase: "index" | "headers" | "check";
  readonly bytes: number;
  readonly total: number;
}

/** Options of `openCheckpoint`. */
export interface OpenOptions {
  /** Told how far opening has come, some times a second. */
  readonly onProgress?: ((progress: OpenProgress) => void) | undefined;
  /** Opening rejects with `aborted` soon after it fires. */
  readonly signal?: AbortSignal | undefined;
}

const OPTION_KEYS: ReadonlySet<string> = new Set<keyof OpenOptions>(["onProgress", "signal"]);

/** Paths of the files that text features need; null where the folder has none. */
export interface TextFiles {
  /** `tiktoken.model` */
  readonly vocabulary: string | null;
  /** `tokenizer_config.json` */
  readonly tokenizerConfig: string | null;
  /** `chat_template.jinja` */
  readonly chatTemplate: string | null;
  /** `generation_config.json` */
  readonly generationConfig: string | null;
}

/** An opened folder of shards: everything known about it without reading a weight. */
export interface Checkpoint {
  /** Absolute path of the folder. */
  readonly path: string;
  readonly config: ModelConfig;
  /** The content of generation_config.json, or null without one. */
  readonly generationConfig: JsonObject | null;
  readonly spec: ModelSpec;
  /** End-of-text ids of both config files that lie inside the vocabulary, ascending. */
  readonly eosTokenIds: readonly number[];
  readonly weightTable: WeightTable;
  /** The weight files in the order of `weightTable.files`. */
  readonly files: readonly WeightFile[];
  /** Tensors in all headers, those that are not used included. */
  readonly tensorCount: number;
  /** Bytes of the text model's weights with their scales. */
  readonly weightBytes: number;
  readonly storageShares: readonly StorageShare[];
  readonly textFiles: TextFiles;
}

/** A step is one entry of a header, a microsecond or so. */
const STEPS_PER_LOOK = 8;

/**
 * Opens a checkpoint folder. Rejects with a K2Error: `invalid-checkpoint` and `unsupported-checkpoint` name file and
 * tensor or key; `io` when the system cannot read a file; `aborted`; `invalid-argument` for a wrong `folder`.
 */
export async function openCheckpoint(folder: string, options: OpenOptions = {}): Promise<Checkpoint> {
  const path = checkFolderName(folder);
  const { onProgress, signal } = checkOptions(options);
  const report: Report = (phase, bytes, total) => onProgress?.({ phase, bytes, total });
  const slice = new TimeSlice("opening the checkpoint", signal, STEPS_PER_LOOK);
  await checkFolder(path);
  const configFile = fileIn(path, "config.json");
  const config = parseModelConfig(await readJsonFile(configFile), configFile);
  const generation = await readGenerationConfig(path);
  const textFiles = await findTextFiles(path, generation.path);
  const { table, files, origin } = await readShards(path, slice, report);
  const total = files.reduce((sum, file) => sum + file.bytes, 0);
  const checked = await buildWeightTable(config, table, files, origin, slice, (bytes) => {
    report("check", bytes, total);
  });
  report("check", total, total);
  const eosTokenIds = new Set([...config.eos_token_id, ...generation.eosTokenIds]);
  return {
    path,
    config,
    generationConfig: generation.values,
    spec: toModelSpec(config),
    eosTokenIds: [...eosTokenIds].filter((id) => id < config.vocab_size).sort((a, b) => a - b),
    ...checked,
    files,
    tensorCount: table.count,
    textFiles,
  };
}

function checkOptions(value: unknown): OpenOptions {
  const options = requireObject(value, "options");
  refuseUnknownKeys(options, OPTION_KEYS, "options");
  const { onProgress } = options;
  if (onProgress !== undefined && typeof onProgress !== "function") {
    throw invalidArgument("a function", "onProgress", onProgress);
  }
  return { onProgress: onProgress as OpenOptions["onProgress"], signal: checkSignal(options.signal) };
}

function checkFolderName(folder: unknown): string {
  if (typeof folder === "string" && folder !== "" && !folder.includes("\0")) return resolve(folder);
  const got = typeof folder === "string" ? `"${printable(folder)}"` : typeof folder;
  throw new K2Error("invalid-argument", `Expected the path of a checkpoint folder for path, got ${got}`, {
    option: "path",
  });
}

async function checkFolder(path: string): Promise<void> {
  const file = { name: path, path };
  try {
    if (!(await stat(path)).isDirectory()) {
      throw damaged({ file, expected: "a checkpoint folder", got: "a file" });
    }
  } catch (error) {
    throw fileFault(file, "a checkpoint folder", error);
  }
}

/** generation_config.json is optional; its `eos_token_id` adds to the one of config.json. */
async function readGenerationConfig(
  folder: string,
): Promise<{ path: string | null; values: JsonObject | null; eosTokenIds: readonly number[] }> {
  const file = fileIn(folder, "generation_config.json");
  if ((await fileSize(file)) === undefined) return { path: null, values: null, eosTokenIds: [] };
  const values = await readJsonFile(file);
  return { path: file.path, values, eosTokenIds: new ConfigReader(values, file).tokenIds("eos_token_id") };
}

async function findTextFiles(folder: string, generationConfig: string | null): Promise<TextFiles> {
  const find = async (name: string) => {
    const file = fileIn(folder, name);
    return (await fileSize(file)) === undefined ? null : file.path;
  };
  return {
    vocabulary: await find("tiktoken.model"),
    tokenizerConfig: await find("tokenizer_config.json"),
    chatTemplate: await find("chat_template.jinja"),
    generationConfig,
  };
}
