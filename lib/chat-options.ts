// The options of one answer, checked before anything is computed.

import {
  checkSignal,
  invalidArgument,
  optionalBoolean,
  requireArray,
  requireNonEmptyString,
  requireObject,
} from "./check";
import { type ParsedFormat, parseFormat, type ResponseFormat } from "./response-format";
import { checkTokenId, type SamplingOptions } from "./sampling";
import type { ToolDefinition } from "./template/tool-definition";

/** Which tools an answer may call: as the model likes, none, at least one, or this one. */
export type ToolChoice = "auto" | "none" | "required" | { type: "function"; function: { name: string } };

/** Options of one answer; given to a chat, they are the defaults of all its answers. */
export interface TurnOptions<Value = unknown> {
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
  /** Default "auto". In a run, "required" and a name hold for its first answer. */
  toolChoice?: ToolChoice;
  /** Whether an answer may hold several calls. Default true. Only of effect where calls are constrained. */
  parallelToolCalls?: boolean;
  /**
   * Whether calls are constrained while they are sampled: declared names and arguments that are valid under the tool's
   * schema. Default true. Without it only `toolChoice` constrains, and arguments may be any JSON object; a tool whose
   * definition says `strict: false` is treated so on its own.
   */
  strict?: boolean;
  /** The form of the answer's text, behind thinking. An answer may still be calls instead. Default: any text. */
  responseFormat?: ResponseFormat<Value>;
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
  toolChoice: ToolChoice;
  parallelToolCalls: boolean;
  strict: boolean;
  format: ParsedFormat | undefined;
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
  tools: readonly ToolDefinition[],
): Turn {
  const { thinking, keepReasoning, maxTokens, maxThinkingTokens, stop, stopTokens, signal, ...others } =
    options;
  const { toolChoice, parallelToolCalls, strict, responseFormat, ...sampling } = others;
  return {
    toolChoice: parseToolChoice(toolChoice, tools),
    parallelToolCalls: optionalBoolean(parallelToolCalls, "parallelToolCalls") ?? true,
    strict: optionalBoolean(strict, "strict") ?? true,
    format: responseFormat === undefined ? undefined : parseFormat(responseFormat),
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

function parseToolChoice(value: unknown, tools: readonly ToolDefinition[]): ToolChoice {
  if (value === undefined || value === "auto" || value === "none") return value ?? "auto";
  if (value === "required") {
    if (tools.length === 0) throw invalidArgument("tools to choose from", "toolChoice", value);
    return value;
  }
  if (typeof value === "string") {
    const expected = '"auto", "none", "required" or { type: "function", function: { name } }';
    throw invalidArgument(expected, "toolChoice", value);
  }
  const choice = requireObject(value, "toolChoice");
  if (choice.type !== "function") throw invalidArgument('"function"', "toolChoice.type", choice.type);
  const { name } = requireObject(choice.function, "toolChoice.function");
  const names = tools.map((tool) => tool.function.name);
  if (!names.includes(name as string)) {
    throw invalidArgument(
      `a declared tool (${names.join(", ") || "none"})`,
      "toolChoice.function.name",
      name,
    );
  }
  return { type: "function", function: { name: name as string } };
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
