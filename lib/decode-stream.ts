// The tokens of one decode, in order. The engine samples a few tokens ahead; those that the consumer never reads are
// taken back, so the timeline holds exactly what was read.

import {
  DecodeEnd,
  type NativeGrammar,
  type NativeSampling,
  type NativeSession,
  type NativeTokens,
} from "./addon/contract";
import { toK2Error } from "./addon/native-error";
import type { SampledToken, TokenEnd } from "./sampling";

const ENDS: Record<DecodeEnd, TokenEnd | undefined> = {
  [DecodeEnd.Running]: undefined,
  [DecodeEnd.Stop]: "stop",
  [DecodeEnd.MaxTokens]: "max-tokens",
  [DecodeEnd.ContextFull]: "context-full",
  [DecodeEnd.Aborted]: "aborted",
};

export interface DecodeRequest {
  native: NativeSession;
  sampling: NativeSampling;
  grammar: { prepare: () => Promise<NativeGrammar>; index: number } | undefined;
  signal: AbortSignal | undefined;
  /** Called before the decode begins; throws where the session cannot decode now. */
  onStart: () => void;
  /** Told every token that was read. */
  onToken: (id: number) => void;
}

/**
 * An async iterable of tokens, to be read once. Nothing happens before the first token is asked for. When the signal
 * fires the loop ends without an error and `end` is "aborted"; failures are thrown as K2Error.
 */
export class DecodeStream implements AsyncIterableIterator<SampledToken> {
  private request: DecodeRequest | undefined;
  private started = false;
  private batch: NativeTokens | undefined;
  private nextIndex = 0;
  private read = 0;
  private reason: TokenEnd | undefined;
  private last: Promise<unknown> = Promise.resolve();

  constructor(request: DecodeRequest) {
    this.request = request;
  }

  /** undefined until the last token was read. */
  get end(): TokenEnd | undefined {
    return this.reason;
  }

  /** For `for await`. */
  [Symbol.asyncIterator](): this {
    return this;
  }

  /** Calls are served one after the other. */
  next(): Promise<IteratorResult<SampledToken, undefined>> {
    const result = this.last.then(() => this.advance());
    this.last = result.catch(() => {});
    return result;
  }

  /** Leaves the decode early; the timeline ends with the last token that was read. */
  return(): Promise<IteratorResult<SampledToken, undefined>> {
    if (this.started) this.request?.native.abort();
    const result = this.last.then(async () => {
      await this.finish();
      return { done: true, value: undefined } as const;
    });
    this.last = result.catch(() => {});
    return result;
  }

  private async advance(): Promise<IteratorResult<SampledToken, undefined>> {
    const { request } = this;
    if (request === undefined) return { done: true, value: undefined };
    try {
      if (!this.started) await this.start(request);
      if (request.signal?.aborted) return await this.endWith("aborted");
      while (this.batch === undefined || this.nextIndex === this.batch.ids.length) {
        const end = this.batch === undefined ? undefined : ENDS[this.batch.end];
        if (end !== undefined) return await this.endWith(end);
        this.batch = await request.native.take();
        this.nextIndex = 0;
        if (request.signal?.aborted) return await this.endWith("aborted");
      }
      return { done: false, value: this.tokenAt(this.batch, this.nextIndex++, request) };
    } catch (error) {
      await this.finish();
      throw toK2Error(error);
    }
  }

  private async start(request: DecodeRequest): Promise<void> {
    if (request.signal?.aborted) return;
    const { native, sampling, grammar } = request;
    request.onStart();
    const handle = grammar && (await grammar.prepare());
    if (request.signal?.aborted) return;
    if (grammar === undefined || handle === undefined) native.startDecode(sampling);
    else native.startConstrainedDecode(sampling, handle, grammar.index);
    this.started = true;
    request.signal?.addEventListener("abort", this.abort);
  }

  private readonly abort = (): void => {
    this.request?.native.abort();
  };

  private async endWith(reason: TokenEnd): Promise<IteratorResult<SampledToken, undefined>> {
    this.reason = reason;
    await this.finish();
    return { done: true, value: undefined };
  }

  /** Frees the session for its next call. */
  private async finish(): Promise<void> {
    const { request } = this;
    this.request = undefined;
    this.batch = undefined;
    if (request === undefined || !this.started) return;
    request.signal?.removeEventListener("abort", this.abort);
    try {
      if (this.reason === "aborted") request.native.abort();
      await request.native.stopDecode(this.read);
    } catch {
      // The session or the model was disposed meanwhile; then there is no timeline left to set right.
    }
  }

  private tokenAt(batch: NativeTokens, index: number, { sampling, onToken }: DecodeRequest): SampledToken {
    const id = batch.ids[index]!;
    this.read += 1;
    onToken(id);
    const token: SampledToken = { id };
    if (sampling.logprobs === 1 || sampling.topLogprobs > 0) token.logprob = batch.logprobs[index]!;
    const count = sampling.topLogprobs;
    if (count > 0) {
      const first = index * count;
      token.topLogprobs = Array.from({ length: count }, (_, i) => ({
        id: batch.topIds[first + i]!,
        logprob: batch.topLogprobs[first + i]!,
      }));
    }
    return token;
  }
}
