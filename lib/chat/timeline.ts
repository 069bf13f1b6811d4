// The session of a chat: begun by the first answer, brought to each prompt by what is new in it, and given up where a
// failure has ended it.

import { aborted } from "../check";
import { K2Error } from "../errors";
import type { Routing, RoutingOptions, SessionOptions } from "../session/routing";
import type { SessionTimings } from "../session/session";
import type { ChatEngine, ChatSession } from "./engine";

const NO_TIMINGS: SessionTimings = {
  prefillMs: 0,
  prefillTokens: 0,
  decodeMs: 0,
  decodeTokens: 0,
  draftedTokens: 0,
  acceptedTokens: 0,
};

export class ChatTimeline {
  /** Calls of `routing` that have the session until this settles, which it does without an error. */
  private reading: Promise<unknown> | undefined;

  constructor(
    private readonly engine: ChatEngine,
    private readonly options: SessionOptions,
    /** A session to go on with; by default the first call begins one. */
    private current?: ChatSession | undefined,
  ) {}

  /** The session that the last prefill has used. */
  get session(): ChatSession {
    return this.current!;
  }

  /** What it has computed so far; only valid until the next call. */
  get tokens(): ArrayLike<number> {
    return this.current?.tokens ?? [];
  }

  get timings(): SessionTimings {
    return this.current?.timings ?? NO_TIMINGS;
  }

  async routing(options: RoutingOptions): Promise<Routing> {
    this.current ??= this.engine.createSession(this.options);
    const { current: session } = this;
    if (!this.options.trace || session.routing === undefined) {
      throw new K2Error(
        "invalid-state",
        "Expected a chat with the option trace for routing, got one without",
      );
    }
    const routing = Promise.resolve(this.reading).then(() => session.routing!(options));
    this.reading = routing.catch(() => {});
    return routing;
  }

  /** Writes the timeline and `note` to a file. */
  async save(path: string, note: string, signal: AbortSignal): Promise<void> {
    await this.reading;
    this.current ??= this.engine.createSession(this.options);
    const { current: session } = this;
    if (session.saveWithNote === undefined) {
      throw new K2Error("unavailable", "Expected an engine with files for save, got one without");
    }
    await session.saveWithNote(path, { signal }, note);
  }

  /** Brings the timeline to `ids`, keeping their common beginning; gives the number of ids that it did not compute. */
  async prefill(ids: Int32Array, signal: AbortSignal): Promise<number> {
    await this.reading;
    // A chat that was disposed meanwhile must not begin a session.
    if (signal.aborted) throw aborted(signal);
    this.current ??= this.engine.createSession(this.options);
    const session = this.current;
    // The last token is always computed anew: decoding starts from its logits.
    const kept = Math.min(commonLength(session.tokens, ids), ids.length - 1);
    if (kept < session.position) await session.rewind(kept);
    const { cachedTokens } = await session.prefill(ids.subarray(kept), { signal });
    return kept + cachedTokens;
  }

  /** Gives the session up if this failure has ended it; all others leave it as it was. */
  async afterFailure(error: unknown): Promise<void> {
    const harmless = [
      "invalid-argument",
      "unsupported-checkpoint",
      "context-full",
      "out-of-memory",
      "aborted",
    ];
    if (!(error instanceof K2Error && harmless.includes(error.code))) await this.drop();
  }

  async drop(): Promise<void> {
    const session = this.current;
    this.current = undefined;
    await session?.dispose();
  }
}

/** Number of equal ids at the beginning. */
function commonLength(left: ArrayLike<number>, right: ArrayLike<number>): number {
  const length = Math.min(left.length, right.length);
  let common = 0;
  while (common < length && left[common] === right[common]) common += 1;
  return common;
}
