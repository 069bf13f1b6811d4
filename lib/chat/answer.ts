// One answer to a prompt: brings the timeline to it, decodes by the answer's grammar, and closes thinking that has used up
// its budget.

import { type ClosedThinking, generate } from "../generate/generate";
import type { StreamPart, Usage } from "../generate/part";
import type { TokenSource } from "../generate/token-source";
import type { SampledToken } from "../sampling";
import { encodeSegments, opensThinking, type PromptEncoder, type Segment } from "../template/segments";
import type { ToolDefinition } from "../template/tool-definition";
import { createKimiK2CallParser } from "../tools/kimi-k2-call-parser";
import type { ThinkingState } from "../tools/turn-grammar";
import { contextFull } from "./context-use";
import type { ChatEngine } from "./engine";
import type { ChatGrammars } from "./grammars";
import type { Turn } from "./options";
import { endOfThinking } from "./thinking-budget";
import type { ChatTimeline } from "./timeline";

/** What the answers of a chat have in common. */
export interface AnswerContext {
  readonly engine: ChatEngine;
  readonly prompts: PromptEncoder;
  readonly timeline: ChatTimeline;
  readonly grammars: ChatGrammars;
  readonly tools: readonly ToolDefinition[];
}

export interface AnswerRequest {
  /** The prompt. */
  segments: readonly Segment[];
  turn: Turn;
  /** The k of the answer's first call. */
  firstCallIndex: number;
  usage: Usage;
  /** Grows with the answer, where the tokens are wanted. */
  tokens?: SampledToken[] | undefined;
  /** Told that the caller's `stop` or `stopTokens` ended the answer. */
  cut?: (() => void) | undefined;
  signal: AbortSignal;
}

export function generateAnswer(
  { engine, prompts, timeline, grammars, tools }: AnswerContext,
  { segments, turn, firstCallIndex, usage, tokens, cut, signal }: AnswerRequest,
): AsyncGenerator<StreamPart, void, undefined> {
  const ends = [...engine.stopTokens, engine.tokenizer.controlId("<|im_end|>")];
  const stopTokens = [...new Set([...engine.stopTokens, ...turn.stopTokens])];
  const thinking = opensThinking(segments) ? "open" : turn.thinking === false ? "over" : "possible";
  const parser = createKimiK2CallParser({
    tokenizer: engine.tokenizer,
    endTokens: stopTokens,
    tools,
    firstCallIndex,
    startsThinking: thinking === "open",
  });
  const decode = async (maxTokens: number, state: ThinkingState) => {
    const grammar = await grammars.of(turn, state, signal);
    const by = grammar === undefined ? {} : { grammar, grammarIndex: firstCallIndex };
    return timeline.session.decode({ ...turn.sampling, ...by, maxTokens, stopTokens, signal });
  };
  const start = async (): Promise<TokenSource> => {
    const ids = await prompts.encode(segments, signal, timeline.tokens);
    usage.promptTokens = usage.totalTokens = ids.length;
    const room = engine.contextTokens - ids.length;
    if (room < 0) throw contextFull(ids.length, engine.contextTokens);
    if (room === 0) return FULL;
    // Before the prompt is computed: a schema that cannot be enforced is found out at once.
    await grammars.of(turn, thinking, signal);
    usage.cachedTokens = await timeline.prefill(ids, signal);
    return decode(Math.min(turn.maxTokens, room), thinking);
  };
  const closeThinking = async (): Promise<ClosedThinking> => {
    const ids = encodeSegments(endOfThinking(usage.insertedTokens === 0), engine.tokenizer);
    const room = Math.min(turn.maxTokens, engine.contextTokens - usage.promptTokens);
    const maxTokens = room - usage.completionTokens - ids.length;
    if (maxTokens <= 0) return { ids: [], source: FULL };
    await timeline.session.prefill(ids, { signal });
    return { ids, source: await decode(maxTokens, "over") };
  };
  return generate({
    start,
    thinkingBudget: { tokens: turn.maxThinkingTokens, close: closeThinking },
    parser,
    usage,
    stop: turn.stop,
    signal,
    onToken: (token) => {
      tokens?.push(token);
      if (turn.stopTokens.includes(token.id) && !ends.includes(token.id)) cut?.();
    },
    onStopString: cut,
  });
}

/** The decode of a prompt that leaves no room. */
const FULL: TokenSource = { end: "context-full", async *[Symbol.asyncIterator]() {} };
