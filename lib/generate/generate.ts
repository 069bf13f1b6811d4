// Tokens to parts: the loop between a session that decodes and a caller that reads. It counts, watches for stop strings
// and for the end of the turn, and says why the answer ended. It never throws: a failure is its last part.

import { K2Error } from "../errors";
import type { SampledToken, TokenEnd } from "../sampling";
import type { CallParser, CallParserEvent } from "../tools/call-parser";
import type { FinishPart, FinishReason, StreamPart, Usage } from "./part";
import { StopStrings } from "./stop";
import type { TokenSource } from "./token-source";

export interface GenerateOptions {
  /** Starts decoding; what it throws ends the stream like a failure while decoding. */
  start: () => Promise<TokenSource>;
  parser: CallParser;
  /** Counted up while tokens come. `start` may fill in the counts of the prompt. */
  usage: Usage;
  /** Texts that end the answer and are not part of it; they count in text, not in thinking or calls. */
  stop?: readonly string[];
  /** What `start` and its source listen to; it tells a caller's wish from a failure. */
  signal: AbortSignal;
  /** Most tokens of thinking, and what puts the end of a block behind them and decodes on. */
  thinkingBudget?: { tokens: number; close: () => Promise<ClosedThinking> };
  /** Told every token before its parts. */
  onToken?: ((token: SampledToken) => void) | undefined;
  /** Told that a stop string ended the answer, before its last part. */
  onStopString?: (() => void) | undefined;
}

/** Tokens that were put on the timeline, and those that the model writes behind them. */
export interface ClosedThinking {
  ids: Iterable<number>;
  source: TokenSource;
}

/** Parts of one answer; the last is `finish`. Leaving the loop ends the decode. */
export async function* generate(options: GenerateOptions): AsyncGenerator<StreamPart, void, undefined> {
  const { parser, usage, signal, thinkingBudget } = options;
  const shown = new ShownParts(options.stop ?? []);
  let end: TokenEnd | undefined;
  try {
    signal.throwIfAborted();
    let source = await options.start();
    for (;;) {
      let isOverBudget = false;
      for await (const token of source) {
        options.onToken?.(token);
        const before = parser.state;
        const events = parser.push(token.id);
        count(usage, 1);
        const thinks = parser.state === "reasoning";
        if (before === "reasoning" && thinks) usage.reasoningTokens += 1;
        yield* shown.take(events);
        if (shown.isStopped || parser.state === "ended" || signal.aborted) break;
        isOverBudget =
          thinks && thinkingBudget !== undefined && usage.reasoningTokens >= thinkingBudget.tokens;
        if (isOverBudget) break;
      }
      end = source.end;
      if (!isOverBudget || thinkingBudget === undefined) break;
      const closed = await thinkingBudget.close();
      source = closed.source;
      for (const id of closed.ids) {
        count(usage, 1);
        usage.insertedTokens += 1;
        yield* shown.take(parser.push(id));
      }
    }
  } catch (error) {
    if (!isAbort(error, signal)) {
      yield { type: "finish", finishReason: "error", usage, error: asK2Error(error) };
      return;
    }
    end = "aborted";
  }
  const isTurnOver = shown.isStopped || parser.state === "ended" || end === "stop";
  yield* shown.take(parser.finish());
  yield* shown.finish();
  if (shown.isStopped) options.onStopString?.();
  if (isTurnOver) yield finished(shown.hasCalls ? "tool-calls" : "stop", usage);
  else yield finished(end === "aborted" || signal.aborted ? "abort" : "length", usage);
}

/** What the caller sees of the parser's events: text up to a stop string, everything else as it is. */
class ShownParts {
  isStopped = false;
  /** Whether a call came that the model finished. */
  hasCalls = false;
  private readonly stop: StopStrings;

  constructor(stop: readonly string[]) {
    this.stop = new StopStrings(stop);
  }

  *take(events: readonly CallParserEvent[]): Generator<StreamPart, void, undefined> {
    for (const event of events) {
      if (this.isStopped) return;
      if (event.type === "text-delta") {
        const { text, isStop } = this.stop.push(event.text);
        if (text !== "") yield { type: "text-delta", text };
        this.isStopped = isStop;
      } else {
        yield* this.finish();
        if (event.type === "tool-call-end" && event.toolCall.invalid?.reason !== "incomplete")
          this.hasCalls = true;
        yield event;
      }
    }
  }

  /** Text that waited for the rest of a stop string. */
  *finish(): Generator<StreamPart, void, undefined> {
    const text = this.isStopped ? "" : this.stop.take();
    if (text !== "") yield { type: "text-delta", text };
  }
}

function count(usage: Usage, tokens: number): void {
  usage.completionTokens += tokens;
  usage.totalTokens = usage.promptTokens + usage.completionTokens;
}

function finished(finishReason: FinishReason, usage: Usage): FinishPart {
  return { type: "finish", finishReason, usage };
}

/** A disposed session answers `invalid-state`; if the caller wanted the end anyway, that is no failure. */
function isAbort(error: unknown, signal: AbortSignal): boolean {
  if (!signal.aborted) return false;
  return (
    error === signal.reason || (error instanceof K2Error && ["aborted", "invalid-state"].includes(error.code))
  );
}

function asK2Error(error: unknown): K2Error {
  if (error instanceof K2Error) return error;
  const message = error instanceof Error ? error.message : String(error);
  return new K2Error("internal", `Expected tokens from the session, got ${message}`, {}, { cause: error });
}
