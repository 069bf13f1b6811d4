// What a stream of an answer consists of. Deltas arrive in the order in which the model wrote them; `finish` is last.

import type { K2Error } from "../errors";
import type { CallParserEvent } from "../tools/call-parser";

/** Why an answer ended. */
export type FinishReason =
  /** The model ended its turn, or a stop string or stop token came. */
  | "stop"
  /** `maxTokens` or the context is used up. */
  | "length"
  /** The model ended its turn with tool calls. */
  | "tool-calls"
  /** The caller's signal fired, or the caller left the loop. */
  | "abort"
  /** The engine failed; `error` says why. */
  | "error";

/** Counts of tokens. */
export interface Usage {
  /** The whole prompt. */
  promptTokens: number;
  /** The whole answer, with markers and the token that ended the turn. */
  completionTokens: number;
  /** How many of `promptTokens` were still in the session or in the prefix cache and did not have to be computed. */
  cachedTokens: number;
  /** How many of `completionTokens` were thinking, without its markers. */
  reasoningTokens: number;
  /** How many of `completionTokens` were not sampled but put there, because `maxThinkingTokens` was used up. */
  insertedTokens: number;
  /** `promptTokens + completionTokens`. */
  totalTokens: number;
}

export function emptyUsage(): Usage {
  return {
    promptTokens: 0,
    completionTokens: 0,
    cachedTokens: 0,
    reasoningTokens: 0,
    insertedTokens: 0,
    totalTokens: 0,
  };
}

/** Field by field, into `sum`. */
export function addUsage(sum: Usage, usage: Usage): void {
  for (const key of Object.keys(sum) as (keyof Usage)[]) sum[key] += usage[key];
}

/** The last part of every answer. */
export interface FinishPart {
  type: "finish";
  finishReason: FinishReason;
  usage: Usage;
  /** Only with `error`. */
  error?: K2Error;
}

/** One event of an answer. */
export type StreamPart = CallParserEvent | FinishPart;
