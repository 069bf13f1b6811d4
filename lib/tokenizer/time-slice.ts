// Long work on JavaScript's thread is cut into slices of about two milliseconds, with a turn of the event loop between
// them. Reading the clock costs more than a step of the work, so callers ask once per some thousand steps.

import { setImmediate } from "node:timers/promises";

import { K2Error } from "../errors";

const SLICE_MS = 2;

export class TimeSlice {
  private readonly task: string;
  private readonly signal: AbortSignal | undefined;
  private end = performance.now() + SLICE_MS;

  /** `task` names the work in the `aborted` error, for instance "Loading the tokenizer". Throws if already aborted. */
  constructor(task: string, signal?: AbortSignal) {
    this.task = task;
    this.signal = signal;
    this.throwIfAborted();
  }

  /** True when it is time to `pause`. */
  get over(): boolean {
    return performance.now() >= this.end;
  }

  /** Lets the event loop turn once. Throws `aborted` when the signal fired meanwhile. */
  async pause(): Promise<void> {
    await setImmediate();
    this.throwIfAborted();
    this.end = performance.now() + SLICE_MS;
  }

  private throwIfAborted(): void {
    if (this.signal?.aborted) {
      throw new K2Error(
        "aborted",
        `${this.task} was aborted by its signal`,
        {},
        { cause: this.signal.reason },
      );
    }
  }
}
