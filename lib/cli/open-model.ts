// From MODEL and the flags to a loaded model and a chat, with the bar meanwhile.

import { readFile } from "node:fs/promises";
import {
  type ChatOptions,
  demoModelPath,
  type JsonObject,
  K2Error,
  type LoadOptions,
  loadModel,
  type Model,
} from "../index";
import type { Arguments } from "./arguments";
import { allDemoTools } from "./demo-tools";
import { ANSWER_FLAGS, MODEL_FLAGS, SAMPLING_FLAGS } from "./flags";
import { formatBytes } from "./format";
import { ProgressBar } from "./progress";
import type { Output } from "./terminal";

/** How MODEL names the embedded model. */
export const DEMO_MODEL = "demo";

export const MODEL_ARGUMENT = {
  name: "MODEL",
  help: "folder of a checkpoint, or demo for the small model that comes with k2-native (./demo is a folder)",
};

export function modelPath(argument: string): string {
  return argument === DEMO_MODEL ? demoModelPath : argument;
}

export async function openModel(
  path: string,
  options: LoadOptions,
  { stderr, signal, isQuiet }: { stderr: Output; signal: AbortSignal; isQuiet: boolean },
): Promise<Model> {
  const bar = new ProgressBar(stderr);
  const onProgress = isQuiet ? {} : { onProgress: bar.show };
  try {
    const model = await loadModel(path, { ...options, ...onProgress, signal });
    bar.clear();
    if (!isQuiet && !model.memory.fits) stderr.write(`${stderr.style.dim(memoryNote(model))}\n`);
    return model;
  } finally {
    bar.clear();
  }
}

export function loadOptions(given: Arguments): LoadOptions {
  return given.options(MODEL_FLAGS);
}

/** What a chat is made with. */
export interface ChatSetup {
  readonly options: ChatOptions;
  /** Whether its tools carry their own execution, as those that come along with the demo model do. */
  readonly executesCalls: boolean;
}

/** @throws K2Error for a file of tools that cannot be read. */
export async function readChatSetup(given: Arguments): Promise<ChatSetup> {
  const options: ChatOptions = given.options(ANSWER_FLAGS, SAMPLING_FLAGS);
  if (given.has("no-thinking")) options.thinking = false;
  const system = given.text("system");
  if (system !== undefined) options.system = system;
  const isDemo = given.positionals[0] === DEMO_MODEL;
  // Its world has one right continuation everywhere, so the most likely token is the right one.
  if (isDemo) options.temperature ??= 0;
  const file = given.text("tools");
  if (file !== undefined) options.tools = await readTools(file);
  const schema = given.text("schema");
  if (schema !== undefined) {
    const content = (await readJson(schema, "--schema")) as JsonObject;
    options.responseFormat = { type: "json_schema", schema: content };
  }
  if (file !== undefined || !isDemo) return { options, executesCalls: false };
  options.tools = allDemoTools;
  return { options, executesCalls: true };
}

/** The chat checks what is in the array. */
async function readTools(file: string): Promise<NonNullable<ChatOptions["tools"]>> {
  const tools = await readJson(file, "--tools");
  if (Array.isArray(tools)) return tools;
  throw new K2Error(
    "invalid-argument",
    `Expected a JSON array of tools for --tools ${file}, got something else`,
    { file },
  );
}

async function readJson(file: string, flag: string): Promise<unknown> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new K2Error("io", `Expected a readable file for ${flag}, got: ${reason}`, { file }, { cause });
  }
  try {
    return JSON.parse(text);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new K2Error(
      "invalid-argument",
      `Expected JSON for ${flag} ${file}, got: ${reason}`,
      { file },
      { cause },
    );
  }
}

function memoryNote({ memory }: Model): string {
  const { totalBytes, memoryBytes, expertMemoryBytes, expertsBytes } = memory;
  const what =
    expertMemoryBytes > 0
      ? `${formatBytes(expertMemoryBytes)} of memory hold some of the ${formatBytes(expertsBytes)} of experts, others are`
      : "weights are";
  return (
    `The model takes ${formatBytes(totalBytes)}, and this machine has ${formatBytes(memoryBytes)}: ` +
    `${what} read from disk while it runs, and answers are slow.`
  );
}
