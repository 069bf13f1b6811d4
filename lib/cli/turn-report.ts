// What is said about a turn when it is over: how fast it was, and anything that a reader of the answer should know.

import type { Compaction } from "../index";
import { formatInteger, formatRate, plural } from "./format";
import type { Turn } from "./turn";

/**
 * "prefill 175 at 4,310 tok/s · 96 cached · decode 29 at 812 tok/s": numbers of tokens, and rates of the forward passes.
 * Lines of at most `width` characters, as far as that goes; none where nothing was computed.
 */
export function turnRates({ usage, timings }: Turn, width: number): string[] {
  const { prefillTokens, prefillMs, decodeTokens, decodeMs } = timings;
  if (prefillTokens === 0) return [];
  const parts = [`prefill ${amount(prefillTokens, prefillTokens, prefillMs)}`];
  if (usage.cachedTokens > 0) parts.push(`${formatInteger(usage.cachedTokens)} cached`);
  if (usage.completionTokens > 0)
    parts.push(`decode ${amount(usage.completionTokens, decodeTokens, decodeMs)}`);
  const lines: string[] = [];
  for (const part of parts) {
    const longer = lines.length === 0 ? part : `${lines.at(-1)} · ${part}`;
    if (longer.length <= width) lines.splice(-1, 1, longer);
    else lines.push(part);
  }
  return lines;
}

/** What the model no longer sees. */
export function compactionNote({ removedMessages, shortenedResults }: Compaction): string {
  const facts: string[] = [];
  if (removedMessages > 0) facts.push(`${plural(removedMessages, "earlier message")} left out`);
  if (shortenedResults > 0) facts.push(`${plural(shortenedResults, "result")} shortened`);
  return `to make room in the context: ${facts.join(", ")}`;
}

/** Sentences about an answer that did not end as answers should. */
export function turnNotes({ reply, stoppedBecause }: Turn): string[] {
  const notes: string[] = [];
  if (reply.finishReason === "abort") notes.push("stopped");
  if (reply.finishReason === "length")
    notes.push("cut off: --max-tokens or the end of the context is reached");
  for (const call of reply.toolCalls) {
    if (call.invalid !== undefined && stoppedBecause === undefined) notes.push(call.invalid.message);
  }
  if (stoppedBecause !== undefined) notes.push(stoppedBecause);
  return notes;
}

function amount(tokens: number, timedTokens: number, milliseconds: number): string {
  const rate = timedTokens > 0 && milliseconds > 0 ? ` at ${formatRate(timedTokens, milliseconds)}` : "";
  return `${formatInteger(tokens)}${rate}`;
}
