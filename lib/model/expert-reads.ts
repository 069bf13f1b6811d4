// What reading routed experts from disk came to.

import type { NativeExpertReads } from "../addon/contract";

/** Sums over the life of a model whose routed experts are read from disk as they are needed. */
export interface ExpertReads {
  /** Uses of an expert that was in memory, or on its way as a guess. A layer that uses an expert for several tokens of a pass uses it once. */
  readonly hits: number;
  /** Uses of an expert that had to be read. */
  readonly misses: number;
  /** Experts read because the next layer was likely to need them, while there was nothing else to read. */
  readonly guesses: number;
  /** Those of them that it needed. */
  readonly usedGuesses: number;
  /** Those that nobody needed before they gave their memory to another expert. */
  readonly wastedGuesses: number;
  readonly readBytes: number;
  /** Time during which at least one read was under way, in milliseconds. */
  readonly readMs: number;
  /** How often a layer had nothing to compute for want of an expert. */
  readonly waits: number;
  /** For how long in all, in milliseconds. */
  readonly waitMs: number;
  /** Memory taken for experts, in bytes. */
  readonly memoryBytes: number;
}

export function toExpertReads({ readNs, waitNs, ...counts }: NativeExpertReads): ExpertReads {
  return { ...counts, readMs: readNs / 1e6, waitMs: waitNs / 1e6 };
}
