// Keeps long parsing from holding JavaScript's thread: work runs in slices of about two milliseconds, and the event
// loop turns between them. The pauses are also where an AbortSignal is noticed.

import { setImmediate } from "node:timers/promises";
import { K2Error } from "../errors";

const SLICE_MS = 2;
/** Steps between two looks at the clock; a step is one entry of a header, a microsecond or so. */
const STEPS = 8;

export class TimeSlice {
  /** Runs at every pause, before the event loop turns: the work at hand reports its progress there. */
  onPause: () => void = () => {};

  private deadline = performance.now() + SLICE_MS;
  private steps = 0;

  constructor(private readonly signal: AbortSignal | undefined) {
    this.throwIfAborted();
  }

  /** Asked after every step of work: true when the slice is used up and `pause` should be awaited. */
  get due(): boolean {
    if (++this.steps < STEPS) return false;
    this.steps = 0;
    return performance.now() >= this.deadline;
  }

  /** Lets the event loop turn once. Rejects with `aborted` when the signal has fired. */
  async pause(): Promise<void> {
    this.onPause();
    await setImmediate();
    this.renew();
  }

  /** Starts a new slice; called after any other wait, such as reading a file, has let the event loop turn. */
  renew(): void {
    this.throwIfAborted();
    this.deadline = performance.now() + SLICE_MS;
  }

  private throwIfAborted(): void {
    if (!this.signal?.aborted) return;
    throw new K2Error(
      "aborted",
      "Expected no abort while opening the checkpoint, got a fired signal",
      {},
      { cause: this.signal.reason },
    );
  }
}
