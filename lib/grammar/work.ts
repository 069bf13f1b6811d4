// Compiling may be long, and JavaScript's thread is not ours: what compiles is a generator that stops after every small
// step, and whoever drives it decides whether to go on at once or to let the event loop turn.

import { setImmediate } from "node:timers/promises";
import { aborted } from "../check";

/** Work of small steps, none longer than a fraction of a millisecond, with a result. */
export type Work<T> = Generator<void, T, void>;

const SLICE_MS = 2;

/** Does all the work at once. */
export function finishAtOnce<T>(work: Work<T>): T {
  for (;;) {
    const step = work.next();
    if (step.done) return step.value;
  }
}

/** Does the work in slices of about 2 ms. Rejects with `aborted` at the first pause after the signal fired. */
export async function finishInSlices<T>(work: Work<T>, signal?: AbortSignal): Promise<T> {
  for (;;) {
    if (signal?.aborted) throw aborted(signal);
    for (const end = performance.now() + SLICE_MS; performance.now() < end; ) {
      const step = work.next();
      if (step.done) return step.value;
    }
    await setImmediate();
  }
}
