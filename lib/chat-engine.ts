// What a chat needs of a loaded model: a layout, a tokenizer, and timelines of tokens. Tests and other engines implement it.

import type { TokenSource } from "./generate/token-source";
import type { Routing, RoutingOptions, SessionOptions } from "./routing";
import type { DecodeLimits, SamplingOptions } from "./sampling";
import type { GrammarOptions, PrefillResult, SessionTimings } from "./session";
import type { ChatTemplate } from "./template/chat-template";
import type { PromptTokenizer } from "./template/segments";
import type { ParserTokenizer } from "./tools/call-parser";

/** One token timeline, as a chat uses it. Never more than one call runs at a time. */
export interface ChatSession {
  /** The ids on the timeline, `position` of them. */
  readonly tokens: ArrayLike<number>;
  readonly position: number;
  /** Rejects with `aborted` when the signal fires; the timeline is then as before. */
  prefill(ids: Int32Array, options: { signal: AbortSignal }): Promise<PrefillResult>;
  /** Of all calls since the session began; absent where nobody measures. */
  readonly timings?: SessionTimings;
  /** What the router chose; absent where nobody traces. */
  routing?(options: RoutingOptions): Promise<Routing>;
  /** Forgets the tokens from `position` on. The next call is a `prefill`. */
  rewind(position: number): Promise<void>;
  /** Sampled tokens stay on the timeline as far as they were read. */
  decode(
    options: SamplingOptions & Required<DecodeLimits> & { signal: AbortSignal } & GrammarOptions,
  ): TokenSource;
  /** Writes the timeline and `note` to a file; absent where that is not possible. */
  saveWithNote?(path: string, options: { signal: AbortSignal }, note: string): Promise<void>;
  dispose(): void | Promise<void>;
}

/** A loaded model, as a chat uses it. */
export interface ChatEngine {
  readonly template: ChatTemplate;
  readonly tokenizer: PromptTokenizer & ParserTokenizer;
  readonly vocabSize: number;
  readonly contextTokens: number;
  /** Tokens that always end a turn. */
  readonly stopTokens: readonly number[];
  /** Checks sampling options and fills in the model's defaults; throws `invalid-argument` for unknown keys. */
  parseSampling(options: Record<string, unknown>): SamplingOptions;
  createSession(options: SessionOptions): ChatSession;
}
