// Compaction as a chat does it: counted by its own layout and tokenizer, summarised by its own model on its own timeline,
// which holds the conversation already.

import { aborted, checkSignal, invalidArgument, refuseUnknownKeys } from "../check";
import { compact } from "../compact/compact-messages";
import {
  type Compaction,
  type CompactionOptions,
  type CompactionPlan,
  parseSizes,
  requireCount,
  type Summarize,
} from "../compact/compact-options";
import { ConversationSteps } from "../compact/conversation-steps";
import { K2Error } from "../errors";
import { emptyUsage, type StreamPart } from "../generate/part";
import { canonicalToolCalls } from "../template/call-ids";
import type { Message } from "../template/message";
import { definedEntries } from "./options";
import { ReplyBuilder } from "./reply";

/** Options of `chat.compact`. */
export interface CompactOptions extends CompactionOptions {
  /**
   * Most tokens of the prompt afterwards, at least 1. Default: half of what tools, system prompt and the questions that
   * stay leave of the context, and what they take.
   */
  targetTokens?: number;
  /**
   * What stands in place of the removed messages. "drop": a notice of one sentence. "model": a summary that the model
   * writes, with the sampling options of the chat; its tokens show in `chat.timings` and in no `usage`. A function: what
   * it returns. Default "drop".
   */
  summarize?: "drop" | "model" | Summarize;
}

/** When and how a run compacts its conversation. */
export interface RunCompactOptions extends Omit<CompactOptions, "signal"> {
  /**
   * The share of the context, above 0 and at most 1, beyond which a prompt is compacted before it is answered. Where
   * `maxTokens` is set, a prompt is also compacted that would leave the answer less than that. Default 0.8.
   */
  at?: number;
}

export interface CompactSettings {
  at: number;
  targetTokens: number | undefined;
  keepSteps: unknown;
  summaryTokens: unknown;
  summarize: "drop" | "model" | Summarize;
  signal: AbortSignal | undefined;
}

/** The chat, as compaction uses it. */
export interface CompactHost {
  readonly contextTokens: number;
  readonly history: Message[];
  count(messages: readonly Message[], signal: AbortSignal): Promise<number>;
  /** The parts of the model's answer to a conversation, which does not become part of the history. */
  answer(
    messages: readonly Message[],
    limits: { maxTokens: number; maxThinkingTokens: number },
    signal: AbortSignal,
  ): AsyncIterable<StreamPart>;
  afterFailure(error: unknown): Promise<void>;
}

const KEYS = ["targetTokens", "keepSteps", "summarize", "summaryTokens"];
const CHAT_KEYS: ReadonlySet<string> = new Set([...KEYS, "signal"]);
const RUN_KEYS: ReadonlySet<string> = new Set([...KEYS, "at"]);

/** @param name How errors call the options of a run; those of a chat have no `at`. */
export function parseCompact(value: unknown, name: "options" | "compact"): CompactSettings {
  const options = definedEntries(value, name);
  refuseUnknownKeys(options, name === "compact" ? RUN_KEYS : CHAT_KEYS, name);
  const { at = 0.8, targetTokens, summarize = "drop", keepSteps, summaryTokens } = options;
  if (!(typeof at === "number" && at > 0 && at <= 1)) {
    throw invalidArgument("a number above 0 and at most 1", "at", at);
  }
  if (summarize !== "drop" && summarize !== "model" && typeof summarize !== "function") {
    throw invalidArgument('"drop", "model" or a function', "summarize", summarize);
  }
  parseSizes(options, 1);
  return {
    at,
    targetTokens: targetTokens === undefined ? undefined : requireCount(targetTokens, "targetTokens"),
    keepSteps,
    summaryTokens,
    summarize: summarize as CompactSettings["summarize"],
    signal: checkSignal(options.signal),
  };
}

/** Compacts the history of a chat. Nothing is changed before everything has succeeded. */
export async function compactHistory(
  host: CompactHost,
  settings: CompactSettings,
  signal: AbortSignal,
): Promise<Compaction> {
  try {
    const { messages, ...compaction } = await compactAll(host, host.history, settings, { held: 0, signal });
    host.history.splice(0, host.history.length, ...messages);
    return compaction;
  } catch (error) {
    throw signal.aborted ? aborted(signal) : error;
  }
}

/** What a run sends next, after a compaction that was due. */
export interface Room {
  compaction: Compaction;
  input: Message[];
}

/**
 * Compacts the history before an answer to `input`, if that is due. `input` is not part of the history yet, and only
 * results of tools in it are changed. A conversation that cannot be made small enough is left as it is: it may fit all
 * the same, and if not, the answer says so.
 */
export async function makeRoom(
  host: CompactHost,
  input: readonly Message[],
  settings: CompactSettings,
  maxTokens: number,
  signal: AbortSignal,
): Promise<Room | undefined> {
  const all = [...host.history, ...input];
  const promptTokens = await host.count(all, signal);
  const wanted = Number.isFinite(maxTokens) ? maxTokens : 0;
  if (promptTokens <= Math.min(settings.at * host.contextTokens, host.contextTokens - wanted))
    return undefined;
  const targetTokens = await targetOf(host, all, settings, signal);
  if (promptTokens <= targetTokens) return undefined;
  try {
    const held = input.length;
    const compacted = await compactAll(host, all, { ...settings, targetTokens }, { held, signal });
    const { messages, ...compaction } = compacted;
    const kept = messages.length - held;
    host.history.splice(0, host.history.length, ...messages.slice(0, kept));
    return { compaction, input: messages.slice(kept) };
  } catch (error) {
    if (error instanceof K2Error && error.code === "context-full") return undefined;
    throw error;
  }
}

async function compactAll(
  host: CompactHost,
  messages: readonly Message[],
  settings: CompactSettings,
  { held, signal }: { held: number; signal: AbortSignal },
) {
  const targetTokens = settings.targetTokens ?? (await targetOf(host, messages, settings, signal));
  const plan: CompactionPlan = {
    targetTokens,
    countTokens: (candidate) => host.count(candidate, signal),
    ...parseSizes(settings, targetTokens),
    summarize: undefined,
    signal,
    held,
  };
  let writing: Promise<string> | undefined;
  if (settings.summarize === "model") {
    plan.summarize = () => {
      writing = summaryOf(host, messages, plan);
      return writing;
    };
  } else if (settings.summarize !== "drop") plan.summarize = settings.summarize;
  try {
    return await compact(messages, plan);
  } finally {
    // After an abort the timeline is free when the model has stopped, and not before.
    await writing?.catch(() => {});
  }
}

async function targetOf(
  host: CompactHost,
  messages: readonly Message[],
  { targetTokens }: CompactSettings,
  signal: AbortSignal,
): Promise<number> {
  if (targetTokens !== undefined) return targetTokens;
  const steps = new ConversationSteps(canonicalToolCalls(messages).messages, 0);
  const fixed = await host.count(steps.without(steps.count), signal);
  return Math.max(1, Math.floor((fixed + host.contextTokens) / 2));
}

/**
 * The model summarises the whole conversation, not only what goes: the conversation is on the timeline, so the question
 * is all that has to be prefilled. Where the context is too full for question and answer, the oldest steps are not seen.
 */
async function summaryOf(
  host: CompactHost,
  messages: readonly Message[],
  plan: CompactionPlan,
): Promise<string> {
  const { signal, summaryTokens } = plan;
  const question: Message = { role: "user", content: QUESTION };
  const visible = await compact(messages, {
    ...plan,
    summarize: undefined,
    targetTokens: Math.max(1, host.contextTokens - 2 * summaryTokens),
    countTokens: (candidate) => host.count([...candidate, question], signal),
  });
  const limits = { maxTokens: 2 * summaryTokens, maxThinkingTokens: summaryTokens };
  const reply = new ReplyBuilder();
  try {
    for await (const part of host.answer([...visible.messages, question], limits, signal)) {
      if (part.type !== "finish") reply.add(part);
      else if (part.error !== undefined) throw part.error;
      else if (part.finishReason === "abort") throw aborted(signal);
    }
  } catch (error) {
    await host.afterFailure(error);
    throw error;
  }
  return reply.build("stop", emptyUsage()).text;
}

const QUESTION =
  "This conversation is about to be shortened: its oldest steps will be removed. Write a summary that lets you go on " +
  "without them: what was asked, what was done and found out, and what is left to do. Repeat names, numbers, paths and " +
  "decisions exactly. Answer with the summary alone, and call no tool.";
