// Long work on JavaScript's thread, whatever it is, runs in slices of about a millisecond, and the event loop turns
// between them. All work of the thread shares the slices: one turn of the event loop has one slice, so that many
// conversations at once hold the thread no longer than one does.

import { K2Error } from "./errors";

const SLICE_MS = 1;

/** Resumes work that waits for its turn, in order. */
const waiting: (() => void)[] = [];
/** Of the slice of this turn; in the past where the event loop has turned since. */
let sliceEnd = 0;

function startSlice(): void {
  const resume = waiting.shift();
  if (waiting.length > 0) setImmediate(startSlice);
  sliceEnd = performance.now() + SLICE_MS;
  resume?.();
}

function nextSlice(): Promise<void> {
  return new Promise((resolve) => {
    waiting.push(resolve);
    if (waiting.length === 1) setImmediate(startSlice);
  });
}

/** What long work asks whether it has to pause. The pauses are also where an abort is noticed. */
export class TimeSlice {
  /** Runs at every pause, before the event loop turns: the work at hand reports its progress there. */
  onPause: () => void = () => {};

  private steps = 0;

  /**
   * @param work Names the work in the `aborted` error, for instance "loading the tokenizer".
   * @param stepsPerLook Steps of the work between two looks at the clock: a look costs a tenth of a microsecond.
   * @throws K2Error `aborted` if the signal has fired already.
   */
  constructor(
    private readonly work: string,
    private readonly signal?: AbortSignal,
    private readonly stepsPerLook = 1,
  ) {
    this.checkAbort();
  }

  /** Asked after every step of the work: true when the slice is over and `pause` should be awaited. */
  get isOver(): boolean {
    if (++this.steps < this.stepsPerLook) return false;
    this.steps = 0;
    return performance.now() >= sliceEnd;
  }

  /** Waits for the next slice. Rejects with `aborted` when the signal has fired. */
  async pause(): Promise<void> {
    this.onPause();
    await nextSlice();
    this.checkAbort();
  }

  /** For whoever waited for something else, such as the reading of a file. Throws `aborted` when the signal has fired. */
  checkAbort(): void {
    if (!this.signal?.aborted) return;
    const message = `Expected no abort while ${this.work}, got a fired signal`;
    throw new K2Error("aborted", message, {}, { cause: this.signal.reason });
  }
}
