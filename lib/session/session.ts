// One token timeline of a model: ids go in, logits or sampled tokens come out. One call at a time; the work happens on
// the engine's thread.

import type { NativeSession } from "../addon/contract";
import { settle, toK2Error } from "../addon/native-error";
import { aborted, checkSignal, invalidArgument, refuseUnknownKeys, requireObject } from "../check";
import { K2Error } from "../errors";
import type { GrammarProgram } from "../grammar/program";
import {
  checkSampling,
  type DecodeLimits,
  SAMPLING_KEYS,
  type SamplingOptions,
  toNativeSampling,
  toTokenIds,
} from "../sampling";
import { DecodeStream } from "./decode-stream";
import { checkPath, settleFile } from "./files";
import { checkGrammar, type Grammars } from "./grammars";
import { checkRange, type Routing, type RoutingOptions, type RoutingShape, readRouting } from "./routing";

/** Options of one call of a session. */
export interface CallOptions {
  /**
   * Rejects the call with `aborted` within milliseconds; the timeline is then as before. Only an `evaluate` that shares a step with
   * other sessions and has come to the logits ends with that step.
   */
  signal?: AbortSignal;
}

/** What the sampled text is to be. */
export interface GrammarOptions {
  /**
   * Only texts of this grammar are sampled. The decode ends with "stop" when one is complete and
   * nothing may follow; where a text may end or go on, a stop token may come and ends it.
   */
  grammar?: GrammarProgram;
  /** Where the running index of a grammar of calls begins; 0 (default) .. 10^9. */
  grammarIndex?: number;
}

/** Options of one decode. */
export type DecodeOptions = SamplingOptions & DecodeLimits & GrammarOptions & CallOptions;

/** What a prefill did. */
export interface PrefillResult {
  /** How many of the ids were in the prefix cache and did not have to be computed. */
  cachedTokens: number;
}

/** Time that forward passes of a session took, and tokens that went through them. */
export interface SessionTimings {
  prefillMs: number;
  prefillTokens: number;
  decodeMs: number;
  /** Those that stayed: a guess that was wrong is not among them. */
  decodeTokens: number;
  /** Guessed tokens that went through forward passes ahead of being sampled (`speculation` of `loadModel`). */
  draftedTokens: number;
  /** Those of them that were right, and saved a forward pass each. */
  acceptedTokens: number;
}

/** What a session needs to know of its model. */
export interface SessionFacts {
  vocabSize: number;
  contextTokens: number;
  stopTokens: readonly number[];
  grammars: Grammars;
  /** undefined for a session without a trace. */
  routing?: RoutingShape;
}

const MOST_INDEX = 1_000_000_000;
const CALL_KEYS: ReadonlySet<string> = new Set(["signal"]);
const LIMIT_KEYS: ReadonlySet<string> = new Set([
  "maxTokens",
  "stopTokens",
  "grammar",
  "grammarIndex",
  "signal",
]);
const DECODE_KEYS: ReadonlySet<string> = new Set([...LIMIT_KEYS, ...SAMPLING_KEYS]);

/** One timeline of tokens. Made by `model.createSession()`; one call at a time. */
export class Session {
  private readonly native: NativeSession;
  private readonly facts: SessionFacts;
  private timeline: number[];
  /** A call runs whose outcome the timeline does not show yet. The engine may be done with it already. */
  private isBusy = false;
  private isDisposed = false;

  /** @internal Made by `model.createSession()` and `session.fork()`. */
  constructor(native: NativeSession, facts: SessionFacts, timeline: number[] = []) {
    this.native = native;
    this.facts = facts;
    this.timeline = timeline;
  }

  /** Tokens on the timeline. */
  get position(): number {
    return this.timeline.length;
  }

  /** The ids on the timeline; not to be changed, and only valid until the next call. */
  get tokens(): readonly number[] {
    return this.timeline;
  }

  /**
   * Appends tokens to the timeline. Afterwards `decode` continues from them.
   * @throws K2Error `context-full` when they do not fit, `aborted`, `numerical-fault`, `invalid-state` when another call
   *   runs.
   */
  async prefill(ids: ArrayLike<number>, options: CallOptions = {}): Promise<PrefillResult> {
    const checked = this.checkIds(ids);
    return this.run(
      options,
      () => {
        this.checkRoom(checked.length, "prefill");
        return this.native.prefill(checked);
      },
      (cachedTokens) => {
        this.append(checked);
        return { cachedTokens };
      },
    );
  }

  /** Like `prefill`, and gives the logits after each of the tokens: [T, V], row-major. */
  async evaluate(ids: ArrayLike<number>, options: CallOptions = {}): Promise<Float32Array> {
    const checked = this.checkIds(ids);
    return this.run(
      options,
      async () => {
        this.checkRoom(checked.length, "evaluate");
        const rows = this.allocateLogits(checked.length);
        await this.native.evaluate(checked, rows);
        return rows;
      },
      (rows) => {
        this.append(checked);
        return rows;
      },
    );
  }

  /** An independent session with the same timeline; what both have in common is in memory once. */
  async fork(): Promise<Session> {
    return this.run(
      {},
      () => this.native.fork(),
      (native) => new Session(native, this.facts, this.timeline.slice()),
    );
  }

  /**
   * Writes the whole session to a file, from which `model.restoreSession` makes it again, also in another process. The file
   * is written beside `path` and takes its place in one step: whatever happens meanwhile, `path` holds the old content or
   * the new. Other sessions go on; this one is busy until the promise settles. Takes about
   * `model.memory.cacheBytes / model.contextTokens` bytes a token.
   * @throws K2Error `io` naming the file (no such folder, no space, no permission, another writer at work), `aborted`,
   *   `invalid-state`, `invalid-argument`; no partial file is left.
   */
  async save(path: string, options: CallOptions = {}): Promise<void> {
    await this.saveWithNote(path, options, "");
  }

  /** @internal Like `save`, with a text of at most 64 MiB that restoring gives back. */
  async saveWithNote(path: string, options: CallOptions, note: string): Promise<void> {
    const file = checkPath(path);
    await this.run(
      options,
      () => settleFile(this.native.save(file, note), file),
      () => {},
    );
  }

  /** Forgets the tokens from `position` on. */
  async rewind(position: number): Promise<void> {
    if (!Number.isInteger(position) || position < 0 || position > this.position) {
      throw invalidArgument(`an integer of 0..${this.position}`, "position", position);
    }
    await this.run(
      {},
      () => this.native.rewind(position),
      () => {
        this.timeline.length = position;
      },
    );
  }

  /**
   * Which experts the router chose for the tokens of the timeline, and with what weights. Arrays of a whole long timeline
   * are large (2880 bytes a token for Kimi K2): `from` and `to` give a part of it.
   * @throws K2Error `invalid-argument` for positions that are not on the timeline; `invalid-state` for a session that was
   *   created without `trace`, or when another call runs; `out-of-memory`.
   */
  async routing(options: RoutingOptions = {}): Promise<Routing> {
    const { from, to } = checkRange(options, this.position);
    const { routing: shape } = this.facts;
    if (shape === undefined) {
      throw new K2Error(
        "invalid-state",
        "Expected a session with the option trace for routing, got one without",
      );
    }
    const tokens = Int32Array.from(this.timeline.slice(from, to));
    return this.run(
      {},
      () => readRouting(this.native, shape, { firstPosition: from, tokens }),
      (routing) => routing,
    );
  }

  /**
   * Samples tokens and appends them, from the first `for await` step on. Wrong options throw here. The stop token, if one
   * was sampled, is delivered last. The session is busy until the loop ends.
   */
  decode(options: DecodeOptions = {}): DecodeStream {
    const all = requireObject(options, "options");
    refuseUnknownKeys(all, DECODE_KEYS, "options");
    const { maxTokens, stopTokens = this.facts.stopTokens, signal, ...others } = options;
    const { grammar, grammarIndex = 0, ...sampling } = others;
    if (maxTokens !== undefined && !(Number.isSafeInteger(maxTokens) && maxTokens >= 0)) {
      throw invalidArgument("an integer of at least 0", "maxTokens", maxTokens);
    }
    if (!(Number.isSafeInteger(grammarIndex) && grammarIndex >= 0 && grammarIndex <= MOST_INDEX)) {
      throw invalidArgument(`an integer of 0..${MOST_INDEX}`, "grammarIndex", grammarIndex);
    }
    const program = checkGrammar(grammar);
    this.checkAlive("decode");
    const { vocabSize, contextTokens } = this.facts;
    return new DecodeStream({
      native: this.native,
      sampling: toNativeSampling(checkSampling(sampling, vocabSize), {
        maxTokens: Math.min(maxTokens ?? contextTokens, contextTokens),
        stopTokens: toTokenIds(stopTokens, vocabSize, "stopTokens"),
      }),
      grammar: program && { prepare: () => this.facts.grammars.prepare(program), index: grammarIndex },
      signal: checkSignal(signal),
      onStart: () => this.checkIdle(),
      onToken: (id) => this.timeline.push(id),
    });
  }

  get timings(): SessionTimings {
    const { prefillNs, decodeNs, ...tokens } = this.native.timings();
    return { prefillMs: prefillNs / 1e6, decodeMs: decodeNs / 1e6, ...tokens };
  }

  /** Ends a running call and gives the memory back. Later calls fail with `invalid-state`; calling it again is fine. */
  dispose(): void {
    if (this.isDisposed) return;
    this.isDisposed = true;
    this.native.dispose();
  }

  /** For `using`. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  /** For `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.dispose();
  }

  private checkAlive(call: string): void {
    if (this.isDisposed) {
      throw new K2Error("invalid-state", `Expected a live session for ${call}, got a disposed one`);
    }
  }

  private checkIdle(): void {
    if (!this.isBusy) return;
    throw new K2Error("invalid-state", "Expected an idle session, got one with a call under way");
  }

  private checkIds(ids: unknown): Int32Array {
    return toTokenIds(ids, this.facts.vocabSize, "ids");
  }

  private checkRoom(count: number, call: string): void {
    const { contextTokens } = this.facts;
    const room = contextTokens - this.position;
    if (count <= room) return;
    throw new K2Error(
      "context-full",
      `Expected at most ${room} tokens for ${call} (context of ${contextTokens}, position ${this.position}), got ${count}`,
      { position: this.position, contextTokens },
    );
  }

  private allocateLogits(tokens: number): Float32Array {
    const count = tokens * this.facts.vocabSize;
    try {
      return new Float32Array(count);
    } catch (cause) {
      const message = `Expected memory for ${tokens} x ${this.facts.vocabSize} logits, got a refusal of the system`;
      throw new K2Error("out-of-memory", message, { bytes: 4 * count }, { cause });
    }
  }

  private append(ids: Int32Array): void {
    for (const id of ids) this.timeline.push(id);
  }

  /** Runs one native call with its abort signal. `apply` brings its outcome to the timeline before the next call may begin. */
  private async run<T, R>(
    options: CallOptions,
    call: () => Promise<T>,
    apply: (outcome: T) => R,
  ): Promise<R> {
    const checked = requireObject(options, "options");
    refuseUnknownKeys(checked, CALL_KEYS, "options");
    const signal = checkSignal(options.signal);
    if (this.isDisposed) throw new K2Error("invalid-state", "Expected a live session, got a disposed one");
    if (signal?.aborted) throw aborted(signal);
    this.checkIdle();
    const abort = () => this.native.abort();
    this.isBusy = true;
    try {
      const promise = settle(call());
      signal?.addEventListener("abort", abort);
      return apply(await promise);
    } catch (error) {
      throw signal?.aborted ? aborted(signal) : toK2Error(error);
    } finally {
      this.isBusy = false;
      signal?.removeEventListener("abort", abort);
    }
  }
}
