// Compiling may be long, and JavaScript's thread is not ours: what compiles is a generator that stops after every small
// step, and whoever drives it decides whether to go on at once or to let the event loop turn.

import { TimeSlice } from "../time-slice";

/** Work of small steps, none longer than a fraction of a millisecond, with a result. */
export type Work<T> = Generator<void, T, void>;

/** Does all the work at once. */
export function finishAtOnce<T>(work: Work<T>): T {
  for (;;) {
    const step = work.next();
    if (step.done) return step.value;
  }
}

/** Does the work in slices of about 1 ms. Rejects with `aborted` at the first pause after the signal fired. */
export async function finishInSlices<T>(work: Work<T>, signal?: AbortSignal): Promise<T> {
  const slice = new TimeSlice("compiling a grammar", signal);
  for (;;) {
    const step = work.next();
    if (step.done) return step.value;
    if (slice.isOver) await slice.pause();
  }
}
