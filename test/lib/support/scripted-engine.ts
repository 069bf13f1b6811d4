// An engine without a model: sessions keep a real timeline, and the tokens they "sample" come from a script.

import type { ChatEngine, ChatSession } from "../../../lib/chat/engine";
import { K2Error } from "../../../lib/errors";
import type { TokenSource } from "../../../lib/generate/token-source";
import type { SampledToken, TokenEnd } from "../../../lib/sampling";
import { checkSampling, type SamplingOptions } from "../../../lib/sampling";
import type { PrefillResult } from "../../../lib/session/session";
import type { ChatTemplate } from "../../../lib/template/chat-template";
import { chooseTemplate } from "../../../lib/template/choose-template";
import { ByteTokenizer } from "./byte-tokenizer";

/** What one decode samples; "wait" hangs until the decode is aborted, an error is thrown. */
export type Script = readonly (number | "wait" | Error)[];

type DecodeOptions = Parameters<ChatSession["decode"]>[0];

export class ScriptedEngine implements ChatEngine {
  readonly tokenizer = new ByteTokenizer();
  readonly template: ChatTemplate = chooseTemplate({ tokenizer: this.tokenizer });
  readonly vocabSize = 300;
  readonly stopTokens = [this.tokenizer.controlId("<|im_end|>")!, this.tokenizer.controlId("[EOS]")!];
  readonly sessions: ScriptedSession[] = [];
  contextTokens = 100_000;
  /** Scripts of the decodes to come, in order. */
  scripts: Script[] = [];
  /** What every prefill reports as taken from the prefix cache. */
  cachedTokens = 0;
  /** Makes the next prefill fail or hang. */
  nextPrefill: Error | "wait" | undefined;

  parseSampling(options: Record<string, unknown>): SamplingOptions {
    return { temperature: 0.6, ...checkSampling(options, this.vocabSize) };
  }

  createSession(): ScriptedSession {
    const session = new ScriptedSession(this);
    this.sessions.push(session);
    return session;
  }

  /** Adds the script of one decode, as parts of a transcript. */
  plan(...parts: readonly (string | { control: string })[]): void {
    this.scripts.push(this.tokenizer.ids(...parts));
  }
}

export class ScriptedSession implements ChatSession {
  readonly tokens: number[] = [];
  /** Lengths of the prefills, in order. */
  readonly prefills: number[] = [];
  readonly decodes: DecodeOptions[] = [];
  isDisposed = false;
  /** A decode is running. */
  isDecoding = false;
  private readonly engine: ScriptedEngine;

  constructor(engine: ScriptedEngine) {
    this.engine = engine;
  }

  get position(): number {
    return this.tokens.length;
  }

  async prefill(ids: Int32Array, { signal }: { signal: AbortSignal }): Promise<PrefillResult> {
    this.check();
    const { nextPrefill } = this.engine;
    this.engine.nextPrefill = undefined;
    if (nextPrefill === "wait") await aborted(signal);
    if (nextPrefill instanceof Error) throw nextPrefill;
    if (ids.length === 0) throw new Error("an empty prefill");
    this.prefills.push(ids.length);
    this.tokens.push(...ids);
    return { cachedTokens: this.engine.cachedTokens };
  }

  async rewind(position: number): Promise<void> {
    this.check();
    if (position > this.position) throw new Error("a rewind forward");
    this.tokens.length = position;
  }

  decode(options: DecodeOptions): TokenSource {
    this.check();
    this.decodes.push(options);
    const script = this.engine.scripts.shift();
    if (script === undefined) throw new Error("a decode without script");
    return new ScriptedDecode(this, script, options);
  }

  dispose(): void {
    this.isDisposed = true;
  }

  private check(): void {
    if (this.isDisposed || this.isDecoding) {
      throw new K2Error("invalid-state", "Expected a free session, got a busy or disposed one");
    }
  }
}

class ScriptedDecode implements TokenSource {
  end: TokenEnd | undefined;
  private readonly session: ScriptedSession;
  private readonly script: Script;
  private readonly options: DecodeOptions;

  constructor(session: ScriptedSession, script: Script, options: DecodeOptions) {
    this.session = session;
    this.script = script;
    this.options = options;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<SampledToken, void, undefined> {
    const { session, options } = this;
    session.isDecoding = true;
    try {
      let count = 0;
      for (const step of this.script) {
        await Promise.resolve();
        if (step instanceof Error) throw step;
        if (count === options.maxTokens) break;
        if (step === "wait") await aborted(options.signal).catch(() => {});
        if (options.signal.aborted) {
          this.end = "aborted";
          return;
        }
        const id = step as number;
        count += 1;
        session.tokens.push(id);
        yield options.logprobs === true ? { id, logprob: -id } : { id };
        if (options.stopTokens.includes(id)) {
          this.end = "stop";
          return;
        }
      }
      this.end = "max-tokens";
    } finally {
      session.isDecoding = false;
    }
  }
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const fail = () => reject(new K2Error("aborted", "Expected the call to finish, got an abort"));
    if (signal.aborted) fail();
    signal.addEventListener("abort", fail);
  });
}
