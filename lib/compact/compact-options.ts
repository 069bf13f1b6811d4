// The options of compaction, checked before anything is counted, and what comes out of it.

import { checkSignal, invalidArgument, refuseUnknownKeys, requireObject } from "../check";
import type { Message } from "../template/message";

/**
 * Summarises messages that are about to be removed, an earlier summary among them. Text that is too long for its place is
 * shortened; an empty one leaves a notice that something was removed.
 */
export type Summarize = (
  messages: Message[],
  context: {
    /** Fires when nobody waits for the summary any longer. */
    signal: AbortSignal;
  },
) => string | Promise<string>;

/** Options of compaction that do not depend on who counts the tokens. */
export interface CompactionOptions {
  /** The latest steps that stay as they are, as far as they fit; at least 1. Default 4. */
  keepSteps?: number;
  /** Most tokens of a summary, at least 1. Default: an eighth of the target, at most 1024. */
  summaryTokens?: number;
  signal?: AbortSignal;
}

/** Options of `compactMessages`. */
export interface CompactMessagesOptions extends CompactionOptions {
  /** Most tokens of the prompt afterwards, at least 1. */
  targetTokens: number;
  /**
   * How many tokens the prompt of a conversation takes, with everything that does not change: tools, system prompt, the
   * head of the answer. With a loaded model: `(messages) => model.renderPrompt(messages, { tools }).length`.
   */
  countTokens(messages: readonly Message[]): number | Promise<number>;
  /** What stands in place of the removed messages: a notice of one sentence, or a summary too. Default "drop". */
  summarize?: "drop" | Summarize;
}

/** What a compaction did. Where the conversation was small enough, all counts of changes are 0. */
export interface Compaction {
  /** Messages that are gone. */
  removedMessages: number;
  /** Results of tools that were shortened; a line in them says how many characters were left out. */
  shortenedResults: number;
  /** Tokens of the prompt before and afterwards. */
  promptTokensBefore: number;
  promptTokensAfter: number;
  /** What stands for the removed messages; undefined without one. */
  summary: string | undefined;
}

/** A conversation that fits, and what was done to it. */
export interface CompactedMessages extends Compaction {
  messages: Message[];
}

/** The checked options. */
export interface CompactionPlan {
  targetTokens: number;
  countTokens: (messages: readonly Message[]) => number | Promise<number>;
  keepSteps: number;
  summaryTokens: number;
  summarize: Summarize | undefined;
  signal: AbortSignal;
  /** How many messages at the end are not to be removed. */
  held: number;
}

const KEYS: ReadonlySet<string> = new Set([
  "targetTokens",
  "countTokens",
  "keepSteps",
  "summarize",
  "summaryTokens",
  "signal",
]);

/** @throws K2Error `invalid-argument` */
export function parseCompactMessages(value: unknown): CompactionPlan {
  const options = requireObject(value, "options");
  refuseUnknownKeys(options, KEYS, "options");
  const { countTokens, summarize = "drop" } = options;
  if (typeof countTokens !== "function") throw invalidArgument("a function", "countTokens", countTokens);
  if (summarize !== "drop" && typeof summarize !== "function") {
    throw invalidArgument('"drop" or a function', "summarize", summarize);
  }
  const targetTokens = requireCount(options.targetTokens, "targetTokens");
  return {
    targetTokens,
    countTokens: countTokens as CompactionPlan["countTokens"],
    ...parseSizes(options, targetTokens),
    summarize: summarize === "drop" ? undefined : (summarize as Summarize),
    signal: checkSignal(options.signal) ?? new AbortController().signal,
    held: 0,
  };
}

/** The sizes that have defaults. */
export function parseSizes(
  { keepSteps, summaryTokens }: { keepSteps?: unknown; summaryTokens?: unknown },
  targetTokens: number,
): Pick<CompactionPlan, "keepSteps" | "summaryTokens"> {
  return {
    keepSteps: keepSteps === undefined ? 4 : requireCount(keepSteps, "keepSteps"),
    summaryTokens:
      summaryTokens === undefined
        ? Math.min(1024, Math.max(1, Math.floor(targetTokens / 8)))
        : requireCount(summaryTokens, "summaryTokens"),
  };
}

export function requireCount(value: unknown, name: string): number {
  if (Number.isSafeInteger(value) && (value as number) >= 1) return value as number;
  throw invalidArgument("an integer of at least 1", name, value);
}
