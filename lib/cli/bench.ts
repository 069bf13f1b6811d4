// `k2 bench`: how fast a checkpoint runs here, what this machine allows, and what stands between the two.

import { forecastModel, type LoadOptions, type Model, measureMachine, openCheckpoint } from "../index";
import { type DiskForecast, demandOf, diskForecastOf, limitsOf, type Uses } from "./bench-limits";
import { type Benchmark, benchReport, type Run } from "./bench-report";
import type { Command } from "./command";
import { type FlagGroup, MODEL_FLAGS } from "./flags";
import { loadOptions, MODEL_ARGUMENT, modelPath, openModel } from "./open-model";

const BENCH_FLAGS: FlagGroup = {
  title: "Output",
  flags: [
    { name: "json", kind: "switch", help: "everything as one JSON object; bytes, and tokens per second" },
  ],
};

/** Tokens of the prompts, shortest first. */
const LENGTHS = [32, 128, 512, 2048];
const DECODED = 32;
/** A length is left out when the one before it took longer than this. */
const MOST_PREFILL_MS = 10_000;
const MOST_DECODE_MS = 4000;

export const benchCommand: Command = {
  name: "bench",
  summary: "measure a checkpoint and this machine, and say what bounds it",
  positionals: [MODEL_ARGUMENT],
  description: [
    "Measures how fast this machine reads memory and multiplies, and how many tokens per second the model reads (prefill) " +
      "and writes (decode) after prompts of some lengths; then says what bounds it, and what it can reach at most.",
    "Prompts are random tokens. Other programs that run meanwhile make every figure smaller; machine and model are " +
      "measured in turn, so that their ratio is good for more than either.",
  ],
  groups: [MODEL_FLAGS, BENCH_FLAGS],
  examples: ["k2 bench demo", "k2 bench ./Kimi-K2-Thinking --threads 48", "k2 bench demo --json"],
  run(given, { terminal, interrupts }) {
    return interrupts.during(async (signal) => {
      const { stdout, stderr } = terminal;
      const path = modelPath(given.positionals[0]!);
      const benchmark = await measure(
        path,
        loadOptions(given),
        async (options) => openModel(path, options, { stderr, signal, isQuiet: given.has("json") }),
        signal,
      );
      if (given.has("json")) stdout.write(`${JSON.stringify(benchmark, null, 2)}\n`);
      else stdout.write(`${benchReport(benchmark, stdout).join("\n")}\n`);
      return 0;
    });
  },
};

async function measure(
  path: string,
  given: LoadOptions,
  open: (options: LoadOptions) => Promise<Model>,
  signal: AbortSignal,
): Promise<Benchmark> {
  const checkpoint = await openCheckpoint(path, { signal });
  const context = Math.min(checkpoint.config.max_position_embeddings, LENGTHS.at(-1)! + DECODED);
  // What is measured is one token a pass.
  const options: LoadOptions = { contextTokens: context, speculation: "off", ...given };
  const memory = await forecastModel(checkpoint, options);
  await using model = await open(options);
  const machineOptions = { threads: model.threads };
  const before = await measureMachine(machineOptions);
  const lengths = LENGTHS.filter((tokens) => tokens + DECODED <= model.contextTokens);
  if (lengths.length === 0) lengths.push(Math.max(1, model.contextTokens - DECODED));
  // The first run brings weights into memory; it counts only where weights never stay there.
  await measureRun(model, lengths[0]!, signal);
  const upwards: MeasuredRun[] = [];
  for (const tokens of lengths) {
    upwards.push(await measureRun(model, tokens, signal));
    const { prefillTokensPerSecond } = upwards.at(-1)!;
    if ((1000 * tokens) / prefillTokensPerSecond > MOST_PREFILL_MS) break;
  }
  const downwards: MeasuredRun[] = [];
  for (const { promptTokens } of upwards.toReversed()) {
    downwards.unshift(await measureRun(model, promptTokens, signal));
  }
  const after = await measureMachine(machineOptions);
  const machine = {
    ...before,
    readBytesPerSecond: mean(before.readBytesPerSecond, after.readBytesPerSecond),
    mappedReadBytesPerSecond: mean(before.mappedReadBytesPerSecond, after.mappedReadBytesPerSecond),
    operationsPerSecond: mean(before.operationsPerSecond, after.operationsPerSecond),
  };
  const demand = demandOf(checkpoint);
  const limits = limitsOf(demand, machine, memory);
  const { expertReads = null } = model;
  let disk: DiskForecast | null = null;
  if (expertReads !== null) {
    const decodes = [...upwards, ...downwards].flatMap(({ decodeUses }) => decodeUses ?? []);
    disk = diskForecastOf(demand, limits, decodes, expertReads);
  }
  return {
    path: checkpoint.path,
    device: model.device,
    machine,
    memory,
    demand,
    limits,
    runs: upwards.map((run, index) => ({
      promptTokens: run.promptTokens,
      prefillTokensPerSecond: mean(run.prefillTokensPerSecond, downwards[index]!.prefillTokensPerSecond),
      decodeTokensPerSecond: mean(run.decodeTokensPerSecond, downwards[index]!.decodeTokensPerSecond),
    })),
    expertReads,
    disk,
  };
}

interface MeasuredRun extends Run {
  /** Of experts that are read from disk, while decoding. */
  readonly decodeUses: Uses | undefined;
}

/** Of two rates of the same work: harmonic. */
function mean(a: number, b: number): number {
  return 2 / (1 / a + 1 / b);
}

/** One prompt and some tokens after it; rates are those of the engine's forward passes. */
async function measureRun(model: Model, promptTokens: number, signal: AbortSignal): Promise<MeasuredRun> {
  await using session = model.createSession();
  // Any ids do, but different ones: equal tokens would meet in the same experts.
  const vocabulary = model.config.vocab_size;
  const ids = Int32Array.from({ length: promptTokens }, (_, index) => (index * 7919 + 13) % vocabulary);
  await session.prefill(ids, { signal });
  const start = performance.now();
  const before = model.expertReads;
  const decode = session.decode({ maxTokens: DECODED, temperature: 1, seed: 1, stopTokens: [], signal });
  for await (const _token of decode) {
    if (performance.now() - start > MOST_DECODE_MS) break;
  }
  const after = model.expertReads;
  const { prefillMs, prefillTokens, decodeMs, decodeTokens } = session.timings;
  return {
    promptTokens,
    prefillTokensPerSecond: (1000 * prefillTokens) / prefillMs,
    // A context of a single token leaves no room for decoding.
    decodeTokensPerSecond: decodeTokens === 0 ? 0 : (1000 * decodeTokens) / decodeMs,
    decodeUses: before && after && { hits: after.hits - before.hits, misses: after.misses - before.misses },
  };
}
