// A benchmark as a page for people: figures, and in words what they mean.

import type { ExpertReads, MachineLimits, MemoryForecast } from "../index";
import type { Demand, DiskForecast, Limits } from "./bench-limits";
import { columns, formatBytes, formatInteger, wrap } from "./format";
import { visible } from "./style";
import type { Output } from "./terminal";

export interface Run {
  readonly promptTokens: number;
  readonly prefillTokensPerSecond: number;
  readonly decodeTokensPerSecond: number;
}

/** What `k2 bench --json` prints: bytes, operations, and rates per second. */
export interface Benchmark {
  readonly path: string;
  readonly device: string;
  readonly machine: MachineLimits;
  readonly memory: MemoryForecast;
  /** What one token takes. */
  readonly demand: Demand;
  /** What the machine can reach at most. */
  readonly limits: Limits;
  readonly runs: readonly Run[];
  /** Of routed experts that are read from disk, since loading, and what that allows; null where they are mapped. */
  readonly expertReads: ExpertReads | null;
  readonly disk: DiskForecast | null;
}

const INDENT = "  ";
const WIDEST = 100;

export function benchReport(benchmark: Benchmark, output: Output): string[] {
  const { bold } = output.style;
  const section = (title: string, lines: readonly string[]) => [
    "",
    bold(title),
    ...lines.map((line) => `${INDENT}${line}`),
  ];
  const width = Math.min(output.columns, WIDEST) - INDENT.length;
  return [
    bold(visible(benchmark.path)),
    ...section("Machine", machine(benchmark)),
    ...section("One token", oneToken(benchmark)),
    ...section("Speed", speed(benchmark)),
    ...(benchmark.expertReads === null ? [] : section("Experts from disk", experts(benchmark.expertReads))),
    ...section(
      "What that means",
      verdict(benchmark).flatMap((text) => wrap(text, width)),
    ),
  ];
}

function machine({ machine: m, device }: Benchmark): string[] {
  return columns([
    ["device", `${device}, ${m.threads} ${m.threads === 1 ? "thread" : "threads"}`],
    [
      "reads",
      `${perSecond(m.readBytesPerSecond)} from memory, ${perSecond(m.mappedReadBytesPerSecond)} from mapped files`,
    ],
    ["multiplies", `${(m.operationsPerSecond / 1e9).toFixed(0)} GFLOP/s (${m.arithmetic})`],
    ["last cache", m.cacheBytes === 0 ? "unknown" : formatBytes(m.cacheBytes)],
  ]);
}

function oneToken({ demand }: Benchmark): string[] {
  const parts = Object.entries(demand.bytesByPart).sort(([, a], [, b]) => b - a);
  const rows = parts.map(([part, bytes]) => [
    part === "experts" ? "chosen experts" : part === "embedding and head" ? "head" : part,
    formatBytes(bytes),
    `${((100 * bytes) / demand.bytes).toFixed(1)} %`,
  ]);
  return [
    ...columns([...rows, ["together", formatBytes(demand.bytes), ""]], [1, 2]),
    `${(demand.operations / 1e9).toPrecision(3)} GFLOP, without attention over the context`,
  ];
}

function speed({ runs }: Benchmark): string[] {
  const rows = runs.map((run) => [
    formatInteger(run.promptTokens),
    rate(run.prefillTokensPerSecond),
    rate(run.decodeTokensPerSecond),
  ]);
  return columns([["prompt", "prefill tok/s", "decode tok/s"], ...rows], [0, 1, 2]);
}

function experts(reads: ExpertReads): string[] {
  const uses = reads.hits + reads.misses;
  return columns([
    ["memory", formatBytes(reads.memoryBytes)],
    ["read", `${formatBytes(reads.readBytes)} in ${(reads.readMs / 1000).toFixed(1)} s of reading`],
    ["uses", `${formatInteger(uses)}, ${percent(uses === 0 ? 0 : reads.hits / uses)} found in memory`],
    [
      "guesses",
      `${formatInteger(reads.guesses)}, ${formatInteger(reads.usedGuesses)} used, ${formatInteger(reads.wastedGuesses)} wasted`,
    ],
    ["waits", `${formatInteger(reads.waits)}, ${(reads.waitMs / 1000).toFixed(1)} s in all`],
  ]);
}

function verdict({ demand, limits, machine: m, memory, runs, disk }: Benchmark): string[] {
  const decode = Math.max(...runs.map((run) => run.decodeTokensPerSecond));
  const prefill = Math.max(...runs.map((run) => run.prefillTokensPerSecond));
  const reached = `${rate(decode)} tok/s were reached, ${percent(decode / limits.decodeTokensPerSecond)} of that.`;
  const most = rate(limits.decodeTokensPerSecond);
  const texts: string[] = [];
  if (disk !== null) {
    texts.push(
      `Experts that are not in memory are read from disk, which gave ${perSecond(disk.diskBytesPerSecond)}. Of those that decoding used, ` +
        `${percent(disk.hitRate)} were in memory, so a token reads ${formatBytes(disk.diskBytesPerToken)}: with this hit rate ` +
        `this machine decodes about ${rate(disk.decodeTokensPerSecond)} tok/s, and with all experts in memory ${most} at most. ` +
        `${rate(decode)} tok/s were reached. Prompts of random tokens use other experts than text does.`,
    );
  } else if (limits.bound === "disk") {
    texts.push(
      `The model takes ${formatBytes(memory.totalBytes)}, this machine has ${formatBytes(memory.memoryBytes)}: ` +
        `weights are read from disk again and again, which is what bounds it. With enough memory it could decode ${most} tok/s at most; ` +
        reached,
    );
  } else if (limits.bound === "caches") {
    texts.push(
      `All weights fit into the cache of the processor, so reading memory does not bound decoding. Arithmetic would allow ` +
        `${most} tok/s; what counts for so small a model is the cost of each step: handing out work, sampling, small matrices. ${reached}`,
    );
  } else if (limits.bound === "memory") {
    texts.push(
      `Decoding is bound by reading memory: a token reads ${formatBytes(demand.bytes)} and this machine reads ` +
        `${perSecond(m.readBytesPerSecond)}, so it can decode ${most} tok/s at most, less with a long context. ${reached}`,
    );
  } else {
    texts.push(
      `Decoding is bound by arithmetic, which allows ${most} tok/s at most, less with a long context. ${reached}`,
    );
  }
  texts.push(
    `Prefill is bound by arithmetic, which allows ${rate(limits.prefillTokensPerSecond)} tok/s at most; ` +
      `${rate(prefill)} were reached, ${percent(prefill / limits.prefillTokensPerSecond)} of that.`,
  );
  return texts;
}

const perSecond = (bytes: number) => `${formatBytes(bytes)}/s`;
const percent = (fraction: number) => `${(100 * fraction).toFixed(fraction < 0.1 ? 1 : 0)} %`;
const rate = (value: number) => (value >= 100 ? formatInteger(value) : value.toPrecision(value >= 1 ? 3 : 2));
