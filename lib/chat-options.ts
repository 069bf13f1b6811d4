// The options of one answer, checked before anything is computed.

import {
  checkSignal,
  invalidArgument,
  optionalBoolean,
  requireArray,
  requireNonEmptyString,
  requireObject,
} from "./check";
import { checkTokenId, type SamplingOptions } from "./sampling";

/** Options of one answer; given to a chat, they are the defaults of all its answers. */
export interface TurnOptions {
  /** Whether the model is to think. Default: as it was trained. */
  thinking?: boolean;
  /** Whether the model sees the reasoning of all its earlier turns. Default: only that of the task at hand. */
  keepReasoning?: boolean;
  /** Most tokens of the answer, thinking included; at least 1. Default: what is left of the context. */
  maxTokens?: number;
  /**
   * Most tokens of thinking in an answer, at least 1. Behind them a short message of ours and the end of the block are put
   * on the timeline, and the model answers. Default: no limit.
   */
  maxThinkingTokens?: number;
  /** Texts that end the answer and are not part of it. They count in text, not in thinking or calls. */
  stop?: string | readonly string[];
  /** Tokens that end the answer, besides those of the model. */
  stopTokens?: readonly number[];
}

export interface Turn {
  thinking: boolean | undefined;
  keepReasoning: boolean | undefined;
  /** Infinity where the caller set no limit. */
  maxTokens: number;
  /** Infinity where the caller set no limit. */
  maxThinkingTokens: number;
  stop: readonly string[];
  stopTokens: readonly number[];
  signal: AbortSignal | undefined;
  sampling: SamplingOptions;
}

/** Copies the keys of an options object that have a value. */
export function definedEntries(options: unknown, name: string): Record<string, unknown> {
  const entries = Object.entries(requireObject(options, name));
  return Object.fromEntries(entries.filter(([, value]) => value !== undefined));
}

/** Checks the options of an answer; those that are not named here belong to `parseSampling`. */
export function parseTurn(
  options: Record<string, unknown>,
  engine: { vocabSize: number; parseSampling(options: Record<string, unknown>): SamplingOptions },
): Turn {
  const { thinking, keepReasoning, maxTokens, maxThinkingTokens, stop, stopTokens, signal, ...sampling } =
    options;
  return {
    thinking: optionalBoolean(thinking, "thinking"),
    keepReasoning: optionalBoolean(keepReasoning, "keepReasoning"),
    maxTokens: parseLimit(maxTokens, "maxTokens"),
    maxThinkingTokens: parseLimit(maxThinkingTokens, "maxThinkingTokens"),
    stop: parseStop(stop),
    stopTokens: parseStopTokens(stopTokens, engine.vocabSize),
    signal: checkSignal(signal),
    sampling: engine.parseSampling(sampling),
  };
}

/** A count of at least 1; without one there is no limit. */
export function parseLimit(value: unknown, name: string, otherwise = Number.POSITIVE_INFINITY): number {
  if (value === undefined) return otherwise;
  if (Number.isSafeInteger(value) && (value as number) >= 1) return value as number;
  throw invalidArgument("an integer of at least 1", name, value);
}

function parseStop(stop: unknown): string[] {
  if (stop === undefined) return [];
  if (typeof stop === "string") return [requireNonEmptyString(stop, "stop")];
  return requireArray(stop, "stop").map((text, index) => requireNonEmptyString(text, `stop[${index}]`));
}

function parseStopTokens(stopTokens: unknown, vocabSize: number): number[] {
  if (stopTokens === undefined) return [];
  const ids = requireArray(stopTokens, "stopTokens");
  return ids.map((id, index) => checkTokenId(id, vocabSize, `stopTokens[${index}]`));
}
