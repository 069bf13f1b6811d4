// A stream of parts that can also be awaited as a whole. Nothing runs before somebody reads it, so work that nobody wants
// costs nothing and cannot fail unseen.

import { K2Error } from "../errors";

/** Produces parts, and hands over their outcome before the last of them. */
export type Produce<Part, Outcome> = (
  deliver: (outcome: Outcome) => void,
) => AsyncGenerator<Part, void, undefined>;

/**
 * Parts, to be read once, and their outcome. Leaving the loop early ends the work like an abort. Loop and outcome reject
 * with the same error when the work fails.
 */
export class PartStream<Part, Outcome> implements AsyncIterable<Part> {
  private readonly parts: AsyncGenerator<Part, void, undefined>;
  private readonly promise: Promise<Outcome>;
  private resolve!: (outcome: Outcome) => void;
  private reject!: (error: unknown) => void;
  private readonly whenLeft: () => Outcome;
  private isTaken = false;
  private isStarted = false;

  /** @param whenLeft The outcome of work that was given up before it began. */
  constructor(produce: Produce<Part, Outcome>, whenLeft: () => Outcome) {
    this.promise = new Promise((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
    });
    // The failure also reaches whoever reads the stream; an outcome that nobody awaits must not bring the process down.
    this.promise.catch(() => {});
    this.parts = produce(this.resolve);
    this.whenLeft = whenLeft;
  }

  /** @throws K2Error `invalid-state` when the parts are read a second time. */
  [Symbol.asyncIterator](): AsyncIterator<Part, void, undefined> {
    if (this.isTaken) {
      throw new K2Error(
        "invalid-state",
        "Expected one reader for the parts of an answer, got a second one (call reply() or result() instead)",
      );
    }
    this.isTaken = true;
    return { next: () => this.next(), return: () => this.leave() };
  }

  /** The outcome, once the parts have ended. Reads them to the end if nobody else does. */
  protected outcome(): Promise<Outcome> {
    // A loop over the parts that starts in this same turn of the program goes first.
    queueMicrotask(() => {
      if (!this.isTaken) void this.drain();
    });
    return this.promise;
  }

  private async next(): Promise<IteratorResult<Part, void>> {
    this.isStarted = true;
    try {
      return await this.parts.next();
    } catch (error) {
      this.reject(error);
      throw error;
    }
  }

  private async leave(): Promise<IteratorResult<Part, void>> {
    if (!this.isStarted) this.resolve(this.whenLeft());
    try {
      return await this.parts.return();
    } catch (error) {
      this.reject(error);
      throw error;
    }
  }

  private async drain(): Promise<void> {
    this.isTaken = true;
    try {
      while ((await this.next()).done !== true);
    } catch {
      // `next` has rejected the outcome.
    }
  }
}
