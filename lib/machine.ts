// What this machine can do at best: the limits against which a model's speed says something.

import { availableParallelism } from "node:os";
import { loadAddon } from "./addon/load";
import { settle } from "./addon/native-error";
import { invalidArgument, refuseUnknownKeys, requireObject } from "./check";

/** Options of `measureMachine`. */
export interface MeasureOptions {
  /** Threads that measure; 1..1024. Default: the machine's cores. */
  threads?: number;
}

/** What a machine can do at best, as medians of a few measurements. */
export interface MachineLimits {
  readonly threads: number;
  /** Bytes per second of reading memory in pages of 2 MiB. */
  readonly readBytesPerSecond: number;
  /** Bytes per second of reading a mapped file that is in memory, as weights are. */
  readonly mappedReadBytesPerSecond: number;
  /**
   * What the best kernels of this processor multiply BF16 weights with: `bf16-dot`, `bf16-neon`, `f32-avx512`, `f32-avx2`,
   * `f32-neon`, `f32-portable`.
   */
  readonly arithmetic: string;
  /** Operations of it per second; a multiply-add counts as two. */
  readonly operationsPerSecond: number;
  /** Size of the last level of cache in bytes; 0 where the system does not say. */
  readonly cacheBytes: number;
}

const KEYS: ReadonlySet<string> = new Set(["threads"]);
/** Best first, as the kernels are chosen; those of integers are for INT4 weights. */
const ARITHMETICS = ["bf16-dot", "bf16-neon", "f32-avx512", "f32-avx2", "f32-neon", "f32-portable"];

/**
 * Measures this machine for some seconds, on threads of its own, with 256 MiB of memory and a file of that size in the
 * system's folder for temporary files. Whatever else runs meanwhile makes the figures smaller.
 * @throws K2Error `invalid-argument`, `invalid-state` while another measurement runs, `out-of-memory`, `io`.
 */
export async function measureMachine(options: MeasureOptions = {}): Promise<MachineLimits> {
  const checked = requireObject(options, "options");
  refuseUnknownKeys(checked, KEYS, "options");
  const threads = options.threads ?? Math.min(availableParallelism(), 1024);
  if (!(Number.isInteger(threads) && threads >= 1 && threads <= 1024)) {
    throw invalidArgument("an integer of 1..1024", "threads", threads);
  }
  const { cacheBytes, rates } = await settle(loadAddon().measureMachine(threads));
  const arithmetic = ARITHMETICS.find((name) => rates[name] !== undefined)!;
  return {
    threads,
    readBytesPerSecond: 1e9 * rates["read-2MiB-pages"]!,
    mappedReadBytesPerSecond: 1e9 * rates["read-mapped-file"]!,
    arithmetic,
    operationsPerSecond: 1e9 * rates[arithmetic]!,
    cacheBytes,
  };
}
