// What one token takes from the machine, and how many the machine can give at most.

import type { Checkpoint, ExpertReads, MachineLimits, MemoryForecast, ModelPart } from "../index";

/** Bytes that decoding one token reads, and operations that it takes; a multiply-add counts as two. */
export interface Demand {
  /** Of the weights, by part of the model; of the routed experts only those that are chosen. */
  readonly bytesByPart: Readonly<Partial<Record<ModelPart, number>>>;
  readonly bytes: number;
  readonly operations: number;
}

export interface Limits {
  readonly decodeTokensPerSecond: number;
  readonly prefillTokensPerSecond: number;
  /** What stands in the way of faster decoding. */
  readonly bound: "memory" | "arithmetic" | "caches" | "disk";
}

/** Uses of routed experts. */
export type Uses = Pick<ExpertReads, "hits" | "misses">;

/** What reading routed experts from disk allows. */
export interface DiskForecast {
  /** Of the uses of experts while decoding, how many found theirs in memory. */
  readonly hitRate: number;
  /** What the disk gave while anything was being read. */
  readonly diskBytesPerSecond: number;
  /** Experts that a token finds in memory cost nothing here. */
  readonly diskBytesPerToken: number;
  /** Tokens per second where reading the disk and computing take turns. */
  readonly decodeTokensPerSecond: number;
}

/**
 * @param decodes What was counted while decoding.
 * @param all What was counted since loading, which tells the rate of the disk.
 */
export function diskForecastOf(
  demand: Demand,
  limits: Limits,
  decodes: readonly Uses[],
  all: Pick<ExpertReads, "readBytes" | "readMs">,
): DiskForecast {
  const hits = decodes.reduce((sum, one) => sum + one.hits, 0);
  const uses = decodes.reduce((sum, one) => sum + one.hits + one.misses, 0);
  const hitRate = uses === 0 ? 0 : hits / uses;
  const diskBytesPerSecond =
    all.readMs === 0 ? Number.POSITIVE_INFINITY : (1000 * all.readBytes) / all.readMs;
  const diskBytesPerToken = (demand.bytesByPart.experts ?? 0) * (1 - hitRate);
  return {
    hitRate,
    diskBytesPerSecond,
    diskBytesPerToken,
    decodeTokensPerSecond: 1 / (1 / limits.decodeTokensPerSecond + diskBytesPerToken / diskBytesPerSecond),
  };
}

export function demandOf({ config, storageShares }: Checkpoint): Demand {
  const bytesByPart: Partial<Record<ModelPart, number>> = {};
  let operations = 0;
  for (const { part, parameters, bytes } of storageShares) {
    let share = 1;
    if (part === "experts") share = config.num_experts_per_tok / config.n_routed_experts;
    // The head is read as a whole; of the embedding, which is as large unless they are one, a single row.
    if (part === "embedding and head" && !config.tie_word_embeddings) share = 1 / 2;
    bytesByPart[part] = (bytesByPart[part] ?? 0) + share * bytes;
    if (part !== "norms") operations += 2 * share * parameters;
  }
  const bytes = Object.values(bytesByPart).reduce((sum, part) => sum + part, 0);
  return { bytesByPart, bytes, operations };
}

export function limitsOf(demand: Demand, machine: MachineLimits, memory: MemoryForecast): Limits {
  const byMemory = machine.readBytesPerSecond / demand.bytes;
  const byArithmetic = machine.operationsPerSecond / demand.operations;
  const isCached = memory.weightsBytes < machine.cacheBytes;
  const decode = isCached ? byArithmetic : Math.min(byMemory, byArithmetic);
  let bound: Limits["bound"] = byMemory < byArithmetic ? "memory" : "arithmetic";
  if (isCached) bound = "caches";
  if (!memory.fits || memory.expertMemoryBytes > 0) bound = "disk";
  return { decodeTokensPerSecond: decode, prefillTokensPerSecond: byArithmetic, bound };
}
