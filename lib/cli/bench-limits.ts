// What one token takes from the machine, and how many the machine can give at most.

import type { Checkpoint, MachineLimits, MemoryForecast, ModelPart } from "../index";

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
  if (!memory.fits) bound = "disk";
  return { decodeTokensPerSecond: decode, prefillTokensPerSecond: byArithmetic, bound };
}
