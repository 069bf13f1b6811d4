// What a tool-call parser is: token ids in, events out, one token at a time. It separates thinking, text and calls by
// control ids alone, so a marker that somebody quotes in ordinary text stays text.

import type { ToolCall } from "../template/message";
import type { ToolDefinition } from "../template/tool-definition";

/** What a parser needs of a tokenizer. */
export interface ParserTokenizer {
  /** Ids from here on are control tokens and never text. */
  readonly baseCount: number;
  /** undefined where the checkpoint does not declare the token. */
  controlId(name: string): number | undefined;
  /** A decoder of its own for each text. */
  createTextDecoder(): TokenDecoder;
}

/** Turns token ids into text and holds back the bytes of characters that are not complete yet. */
export interface TokenDecoder {
  /** The text that one more token completes. */
  push(id: number): string;
  /** What was held back, with U+FFFD for broken characters; the decoder starts afresh. */
  flush(): string;
}

/** Why a call must not be executed as it stands. */
export type InvalidCallReason =
  /** Generation ended inside the call. */
  | "incomplete"
  /** The id names no tool. */
  | "malformed-id"
  /** No tool of this name was declared. */
  | "unknown-tool"
  /** The arguments are not JSON, or are nested too deeply. */
  | "invalid-arguments";

/** What is wrong with a call. */
export interface InvalidCall {
  reason: InvalidCallReason;
  /** A sentence that can be handed to the model as the call's result. */
  message: string;
}

/** A call as it is reported: OpenAI's shape, and what is wrong with it where something is. */
export interface ReportedToolCall extends ToolCall {
  invalid?: InvalidCall;
}

/** What a token can bring: thinking, text, or a piece of a call. */
export type CallParserEvent =
  | { type: "reasoning-delta"; text: string }
  | { type: "text-delta"; text: string }
  /** A call begins. Every start is followed by its end; calls never overlap. */
  | { type: "tool-call-start"; id: string; name: string }
  /** More of the arguments' JSON text; joined, the deltas are the call's arguments. */
  | { type: "tool-call-delta"; id: string; text: string }
  | { type: "tool-call-end"; id: string; toolCall: ReportedToolCall };

/** Text in events is never empty. The events depend on the tokens alone, not on how they were handed over. */
export interface CallParser {
  /** Where the next token would go. */
  readonly state: "reasoning" | "text" | "call" | "ended";
  /** Takes one token, or those of one step in order. After an end token all others are ignored. */
  push(ids: number | Iterable<number>): readonly CallParserEvent[];
  /** Says that no token will follow. A call that is still open is reported as incomplete. */
  finish(): readonly CallParserEvent[];
}

/** What a parser knows before the first token. */
export interface CallParserOptions {
  tokenizer: ParserTokenizer;
  /** Tokens that end the model's turn. `<|im_end|>` always does. */
  endTokens?: Iterable<number>;
  /** Declared tools; calls of others are reported as invalid. Without this every name is accepted. */
  tools?: readonly ToolDefinition[];
  /** The k of the first call: how many calls the conversation had before. Default 0. */
  firstCallIndex?: number;
  /** The prompt has opened a thinking block. Default false. */
  startsThinking?: boolean;
}
