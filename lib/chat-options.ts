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
  const { thinking, keepReasoning, maxTokens, stop, stopTokens, signal, ...sampling } = options;
  if (maxTokens !== undefined && !(Number.isSafeInteger(maxTokens) && (maxTokens as number) >= 1)) {
    throw invalidArgument("an integer of at least 1", "maxTokens", maxTokens);
  }
  return {
    thinking: optionalBoolean(thinking, "thinking"),
    keepReasoning: optionalBoolean(keepReasoning, "keepReasoning"),
    maxTokens: maxTokens === undefined ? Number.POSITIVE_INFINITY : (maxTokens as number),
    stop: parseStop(stop),
    stopTokens: parseStopTokens(stopTokens, engine.vocabSize),
    signal: checkSignal(signal),
    sampling: engine.parseSampling(sampling),
  };
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
