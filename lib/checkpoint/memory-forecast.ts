// How much memory a model will take, known before anything is loaded. Pure arithmetic over the checkpoint's bytes and
// the numbers of native planning.

import { totalmem } from "node:os";
import type { NativeMemoryPlan } from "../addon/contract";

/** All sizes in bytes. */
export interface MemoryForecast {
  /** Weights as mapped from the files; the page cache holds as many of them as there is room for. */
  readonly weightsBytes: number;
  /** KV cache of one full context, in whole pages. */
  readonly cacheBytes: number;
  /** Most that the prefix cache takes. */
  readonly prefixCacheBytes: number;
  readonly scratchBytes: number;
  readonly totalBytes: number;
  /** What the machine has. */
  readonly memoryBytes: number;
  /** Whether all of it fits. If not, weights are read from disk again while the model runs. */
  readonly fits: boolean;
  /** Whether both caches and scratch fit, which must be in memory. Without that the model cannot run. */
  readonly runs: boolean;
}

/** `memoryBytes` defaults to the memory of this machine. */
export function forecastMemory(
  weightBytes: number,
  plan: NativeMemoryPlan,
  { contextTokens, prefixCacheBytes }: { contextTokens: number; prefixCacheBytes: number },
  memoryBytes: number = totalmem(),
): MemoryForecast {
  const cacheBytes = Math.ceil(contextTokens / plan.pageTokens) * plan.pageTokens * plan.cacheBytesPerToken;
  const workingBytes = cacheBytes + prefixCacheBytes + plan.scratchBytes;
  return {
    weightsBytes: weightBytes,
    cacheBytes,
    prefixCacheBytes,
    scratchBytes: plan.scratchBytes,
    totalBytes: weightBytes + workingBytes,
    memoryBytes,
    fits: weightBytes + workingBytes <= memoryBytes,
    runs: workingBytes <= memoryBytes,
  };
}
