// How much memory a model will take, known before anything is loaded. Pure arithmetic over the checkpoint's bytes and
// the numbers of native planning.

import { totalmem } from "node:os";
import type { NativeMemoryPlan } from "../addon/contract";
import type { Checkpoint } from "./open-checkpoint";

/** All sizes in bytes. */
export interface MemoryForecast {
  /** All weights, as they lie in the files. Mapped ones belong to the page cache, which holds as many as there is room for. */
  readonly weightsBytes: number;
  /** The part of them that is routed experts. */
  readonly expertsBytes: number;
  /** Memory for routed experts, which are read into it as they are needed. 0: they are mapped like all other weights. */
  readonly expertMemoryBytes: number;
  /** Most that copies of routed experts take, for which pages of the files are given back. */
  readonly expertCopyBytes: number;
  /** KV cache of one full context, in whole pages. */
  readonly cacheBytes: number;
  /** Most that the prefix cache takes. */
  readonly prefixCacheBytes: number;
  readonly scratchBytes: number;
  /** All weights, both caches and scratch. */
  readonly totalBytes: number;
  /** What the machine has. */
  readonly memoryBytes: number;
  /** Whether all of it fits. If not, weights are read from disk again while the model runs. */
  readonly fits: boolean;
  /** Whether both caches, scratch and the memory for experts fit. Without that the model cannot run. */
  readonly runs: boolean;
}

/** The routed experts of a checkpoint, in bytes. */
export interface ExpertSizes {
  readonly bytes: number;
  /** More than the experts of one token take in memory. */
  readonly tokenBytes: number;
}

export interface ForecastOptions {
  readonly contextTokens: number;
  readonly prefixCacheBytes: number;
  readonly expertMemory: "auto" | "mapped" | number;
  readonly expertCopyBytes: "auto" | number;
}

/** Reading in whole blocks, and what lies between the matrices of an expert, adds less than this to each. */
const MOST_ADDED_TO_EXPERT = 2 ** 19;
/** Of the machine's memory, what is left to everything else. */
const KEPT_FREE = 0.1;

export function expertSizesOf({
  config,
  storageShares,
}: Pick<Checkpoint, "config" | "storageShares">): ExpertSizes {
  const shares = storageShares.filter(({ part }) => part === "experts");
  const widest = Math.max(0, ...shares.map(({ bytes, parameters }) => bytes / parameters));
  const parameters = 3 * config.hidden_size * config.moe_intermediate_size;
  return {
    bytes: shares.reduce((sum, share) => sum + share.bytes, 0),
    tokenBytes: config.num_experts_per_tok * Math.ceil(widest * parameters + MOST_ADDED_TO_EXPERT),
  };
}

/** `memoryBytes` defaults to the memory of this machine. */
export function forecastMemory(
  weightsBytes: number,
  experts: ExpertSizes,
  plan: NativeMemoryPlan,
  { contextTokens, prefixCacheBytes, expertMemory, expertCopyBytes }: ForecastOptions,
  memoryBytes: number = totalmem(),
): MemoryForecast {
  const cacheBytes = Math.ceil(contextTokens / plan.pageTokens) * plan.pageTokens * plan.cacheBytesPerToken;
  const workingBytes = cacheBytes + prefixCacheBytes + plan.scratchBytes;
  const totalBytes = weightsBytes + workingBytes;
  const fits = totalBytes <= memoryBytes;
  let expertMemoryBytes = typeof expertMemory === "number" ? expertMemory : 0;
  if (expertMemory === "auto" && !fits && experts.bytes > 0) {
    const others = weightsBytes - experts.bytes + workingBytes;
    const left = Math.floor((1 - KEPT_FREE) * memoryBytes) - others;
    expertMemoryBytes = Math.max(left, experts.tokenBytes);
    // With so little memory there is nothing to gain by dividing it up.
    if (workingBytes + expertMemoryBytes > memoryBytes) expertMemoryBytes = 0;
  }
  const spare = Math.max(0, Math.floor(((1 - KEPT_FREE) * memoryBytes - totalBytes) / 2));
  const mostCopied = expertMemoryBytes > 0 ? 0 : expertCopyBytes === "auto" ? spare : expertCopyBytes;
  return {
    weightsBytes,
    expertsBytes: experts.bytes,
    expertMemoryBytes,
    expertCopyBytes: Math.min(mostCopied, experts.bytes),
    cacheBytes,
    prefixCacheBytes,
    scratchBytes: plan.scratchBytes,
    totalBytes,
    memoryBytes,
    fits,
    // No more is taken than all experts need.
    runs: workingBytes + Math.min(expertMemoryBytes, experts.bytes) <= memoryBytes,
  };
}
