// `k2 inspect`: what a checkpoint holds and what it will take, without reading its weights.

import {
  type Checkpoint,
  type Device,
  forecastModel,
  K2Error,
  type LoadOptions,
  listDevices,
  openCheckpoint,
  readModelText,
} from "../index";
import type { Command } from "./command";
import { type FlagGroup, MODEL_FLAGS } from "./flags";
import { type ContextForecast, type Inspection, inspectionReport, type TextFacts } from "./inspect-report";
import { loadOptions, MODEL_ARGUMENT, modelPath } from "./open-model";
import { ProgressBar } from "./progress";

const OUTPUT_FLAGS: FlagGroup = {
  title: "Output",
  flags: [{ name: "json", kind: "switch", help: "everything as one JSON object; sizes are in bytes" }],
};

export const inspectCommand: Command = {
  name: "inspect",
  summary: "show what a checkpoint holds and how much memory it takes",
  positionals: [MODEL_ARGUMENT],
  description: [
    "Opens a checkpoint, checks every tensor against its config, and shows architecture, weights, tokenizer, memory and " +
      "devices. No weight is read, so this takes seconds for any size.",
    "Memory is forecast for several lengths of context; --context asks for another one.",
  ],
  groups: [MODEL_FLAGS, OUTPUT_FLAGS],
  examples: ["k2 inspect demo", "k2 inspect ./Kimi-K2-Thinking --context 100000", "k2 inspect demo --json"],
  run(given, { terminal, interrupts }) {
    return interrupts.during(async (signal) => {
      const bar = new ProgressBar(terminal.stderr);
      const path = modelPath(given.positionals[0]!);
      try {
        const checkpoint = await openCheckpoint(path, { signal, onProgress: bar.show });
        const inspection = await inspect(checkpoint, loadOptions(given), signal);
        bar.clear();
        const { stdout } = terminal;
        if (given.has("json")) stdout.write(`${JSON.stringify(inspection, null, 2)}\n`);
        else stdout.write(`${inspectionReport(inspection, stdout).join("\n")}\n`);
        return 0;
      } finally {
        bar.clear();
      }
    });
  },
};

async function inspect(
  checkpoint: Checkpoint,
  { contextTokens, ...options }: LoadOptions,
  signal: AbortSignal,
): Promise<Inspection> {
  const { config, storageShares } = checkpoint;
  const devices = devicesOrReason();
  return {
    path: checkpoint.path,
    config,
    files: checkpoint.files.map(({ name, bytes }) => ({ name, bytes })),
    tensorCount: checkpoint.tensorCount,
    weightBytes: checkpoint.weightBytes,
    parameters: sumParameters(checkpoint, () => 1),
    activeParameters: sumParameters(checkpoint, (part) =>
      part === "experts" ? config.num_experts_per_tok / config.n_routed_experts : 1,
    ),
    storageShares,
    text: await readText(checkpoint, signal),
    memory: Array.isArray(devices) ? await forecasts(checkpoint, options, contextTokens) : [],
    devices: Array.isArray(devices) ? devices : [],
    unavailable: Array.isArray(devices) ? null : devices,
  };
}

/** The addon's devices, or why there is no addon: a checkpoint can be looked at without one. */
function devicesOrReason(): Device[] | string {
  try {
    return listDevices();
  } catch (error) {
    if (error instanceof K2Error && error.code === "unavailable") return error.message;
    throw error;
  }
}

function sumParameters({ storageShares }: Checkpoint, weight: (part: string) => number): number {
  return Math.round(storageShares.reduce((sum, share) => sum + share.parameters * weight(share.part), 0));
}

async function readText(checkpoint: Checkpoint, signal: AbortSignal): Promise<TextFacts> {
  const { tokenizer, template, stopTokens, samplingDefaults } = await readModelText(checkpoint, {
    onProgress: undefined,
    signal,
  });
  const vocabulary = valueOrReason(tokenizer, ({ baseCount, vocabSize }) => ({
    tokens: baseCount,
    controlTokens: vocabSize - baseCount,
  }));
  const nameOf = (id: number) => valueOrReason(tokenizer, ({ special }) => special.name(id)).value;
  const layout = valueOrReason(template, ({ name }) => name);
  return {
    files: checkpoint.textFiles,
    tokenizer: vocabulary.value,
    chatLayout: layout.value,
    problem: vocabulary.reason ?? layout.reason,
    stopTokens: stopTokens.map((id) => ({ id, name: nameOf(id) })),
    samplingDefaults,
  };
}

/** What a feature says, or why the checkpoint does not have it. */
function valueOrReason<T, R>(
  read: () => T,
  describe: (value: T) => R,
): { value: R; reason: null } | { value: null; reason: string } {
  try {
    return { value: describe(read()), reason: null };
  } catch (error) {
    if (error instanceof K2Error) return { value: null, reason: error.message };
    throw error;
  }
}

const CONTEXTS = [1024, 4096, 32_768, 131_072, 262_144];
const MOST_CONTEXT = 2 ** 24;

async function forecasts(
  checkpoint: Checkpoint,
  options: LoadOptions,
  wanted: number | undefined,
): Promise<ContextForecast[]> {
  const longest = Math.min(checkpoint.config.max_position_embeddings, MOST_CONTEXT);
  const lengths = new Set(CONTEXTS.filter((tokens) => tokens < longest).slice(-4));
  lengths.add(longest);
  if (wanted !== undefined) lengths.add(wanted);
  const rows: ContextForecast[] = [];
  for (const contextTokens of [...lengths].sort((a, b) => a - b)) {
    rows.push({ contextTokens, ...(await forecastModel(checkpoint, { ...options, contextTokens })) });
  }
  return rows;
}
