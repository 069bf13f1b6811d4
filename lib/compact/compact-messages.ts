// Makes a conversation fit into a number of tokens: the fewest steps that are enough go, the oldest first; where the
// latest ones alone are too much, results of tools are shortened, and then fewer of them stay. Nothing is estimated:
// every candidate is counted as the prompt that it would be.

import { aborted, invalidArgument, requireString } from "../check";
import { K2Error } from "../errors";
import { canonicalToolCalls } from "../template/call-ids";
import { contentText, type Message, parseMessages } from "../template/message";
import {
  type CompactedMessages,
  type CompactionPlan,
  type CompactMessagesOptions,
  parseCompactMessages,
} from "./compact-options";
import { ConversationSteps } from "./conversation-steps";
import { isLonger, shorten } from "./shorten";

/** What stays of a result at least, in characters: enough to see what it was. */
const SHORTEST = 200;

/**
 * A conversation that takes at most `targetTokens`, for servers and other programs that keep the messages themselves; a
 * chat has `compact`. System messages, the first message of the user, the questions that the kept steps belong to, and
 * calls that wait for results stay; everything that is removed leaves one message of the user in its place. Ids of calls
 * become canonical and go on counting, but a call that waits for its result keeps the id that its caller knows. The same
 * input gives the same messages, and the beginning up to the first removed message stays as it is, token by token.
 * @throws K2Error `invalid-argument`; `context-full` where what has to stay takes more; `aborted`; whatever `summarize`
 *   and `countTokens` throw.
 */
export async function compactMessages(
  messages: readonly Message[],
  options: CompactMessagesOptions,
): Promise<CompactedMessages> {
  return compact(parseMessages(messages), parseCompactMessages(options));
}

/** `compactMessages` for messages and options that were checked. */
export async function compact(given: readonly Message[], plan: CompactionPlan): Promise<CompactedMessages> {
  const steps = new ConversationSteps(canonicalToolCalls(given).messages, plan.held);
  const promptTokensBefore = await count(plan, steps.messages);
  if (promptTokensBefore <= plan.targetTokens) return unchanged(given, promptTokensBefore);
  const fitting = await findFitting(steps, plan);
  const removed = steps.removed(fitting.steps);
  const cut = (messages: readonly Message[]) => shortenResults(messages, fitting.limit);
  let summary = "";
  if (removed.length > 0 && plan.summarize !== undefined) {
    const text = await summarize(steps.summarized(fitting.steps), plan.summarize, plan.signal);
    summary = await fitSummary(text.trim(), (shorter) => cut(steps.without(fitting.steps, shorter)), plan);
  }
  const messages = cut(steps.without(fitting.steps, plan.summarize && summary));
  return {
    messages: withWaitingIds(messages, steps.messages, given),
    removedMessages: removed.length,
    shortenedResults: shortenedAmong(messages, steps.messages),
    promptTokensBefore,
    promptTokensAfter: await count(plan, messages),
    summary: summary === "" ? undefined : summary,
  };
}

function unchanged(messages: readonly Message[], promptTokens: number): CompactedMessages {
  return {
    messages: [...messages],
    removedMessages: 0,
    shortenedResults: 0,
    promptTokensBefore: promptTokens,
    promptTokensAfter: promptTokens,
    summary: undefined,
  };
}

interface Fitting {
  /** How many of the oldest steps go. */
  steps: number;
  /** Most characters of a result; undefined where none is shortened. */
  limit: number | undefined;
}

async function findFitting(steps: ConversationSteps, plan: CompactionPlan): Promise<Fitting> {
  let reserve = plan.summarize === undefined ? 0 : plan.summaryTokens;
  let least = Number.POSITIVE_INFINITY;
  const fits = async (gone: number, limit?: number) => {
    const tokens = await count(plan, shortenResults(steps.without(gone), limit));
    least = Math.min(least, tokens);
    // Where nothing can be removed there will be no summary.
    return tokens + (steps.removed(gone).length > 0 ? reserve : 0) <= plan.targetTokens;
  };
  const attempt = async (): Promise<Fitting | undefined> => {
    for (let kept = Math.min(plan.keepSteps, steps.count); ; kept -= 1) {
      const most = steps.count - kept;
      if (await fits(most)) return { steps: await smallest(most, fits), limit: undefined };
      const longest = steps
        .without(most)
        .reduce((length, message) => Math.max(length, lengthOfResult(message)), 0);
      const limit = await largest(longest, (limit) => fits(most, limit));
      if (limit !== undefined) return { steps: most, limit };
      if (kept <= 1) return undefined;
    }
  };
  let fitting = await attempt();
  if (fitting === undefined && reserve > 0) {
    // Then the summary gets what is left.
    reserve = 0;
    fitting = await attempt();
  }
  if (fitting !== undefined) return fitting;
  throw new K2Error(
    "context-full",
    `Expected at most ${plan.targetTokens} tokens for the compacted conversation, got ${least}: tools, system messages, ` +
      "questions and the last step take them",
    { promptTokens: least, targetTokens: plan.targetTokens },
  );
}

/** The smallest number up to `most` that fits, as far as halving finds it; `most` itself does. */
async function smallest(most: number, fits: (value: number) => Promise<boolean>): Promise<number> {
  let low = 0;
  let high = most;
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    if (await fits(middle)) high = middle;
    else low = middle + 1;
  }
  return high;
}

/**
 * The largest limit below `longest` that fits, to a sixteenth; undefined if not even the shortest does. It is looked for
 * from below: the longer the texts, the longer it takes to count their tokens.
 */
async function largest(
  longest: number,
  fits: (limit: number) => Promise<boolean>,
): Promise<number | undefined> {
  if (longest <= SHORTEST || !(await fits(SHORTEST))) return undefined;
  let low = SHORTEST;
  let high = Math.min(longest, 2 * low);
  while (high < longest && (await fits(high))) {
    low = high;
    high = Math.min(longest, 2 * low);
  }
  while (high - low > low / 16) {
    const middle = Math.floor((low + high) / 2);
    if (await fits(middle)) low = middle;
    else high = middle;
  }
  return low;
}

/** The summary, shortened if it took more than its share; "" if there is no room for any of it. */
async function fitSummary(
  summary: string,
  build: (summary: string) => readonly Message[],
  plan: CompactionPlan,
): Promise<string> {
  const fits = async (text: string) => (await count(plan, build(text))) <= plan.targetTokens;
  if (await fits(summary)) return summary;
  const limit = await largest(summary.length, (limit) => fits(shorten(summary, limit)));
  return limit === undefined ? "" : shorten(summary, limit);
}

/** Whatever the caller's function does, an abort ends the wait for it. */
async function summarize(
  messages: Message[],
  action: NonNullable<CompactionPlan["summarize"]>,
  signal: AbortSignal,
) {
  if (signal.aborted) throw aborted(signal);
  let stopListening = () => {};
  const whenAborted = new Promise<never>((_, reject) => {
    const abort = () => reject(aborted(signal));
    signal.addEventListener("abort", abort);
    stopListening = () => signal.removeEventListener("abort", abort);
  });
  try {
    const text = await Promise.race([whenAborted, action(structuredClone(messages), { signal })]);
    return requireString(text, "the result of summarize");
  } finally {
    stopListening();
  }
}

async function count(plan: CompactionPlan, messages: readonly Message[]): Promise<number> {
  if (plan.signal.aborted) throw aborted(plan.signal);
  const tokens = await plan.countTokens(messages);
  if (Number.isFinite(tokens)) return tokens;
  throw invalidArgument("a number", "the result of countTokens", tokens);
}

function shortenedAmong(messages: readonly Message[], originals: readonly Message[]): number {
  const same = new Set(originals);
  return messages.filter((message) => message.role === "tool" && !same.has(message)).length;
}

function lengthOfResult(message: Message): number {
  return message.role === "tool" ? contentText(message.content).length : 0;
}

function shortenResults(messages: readonly Message[], limit: number | undefined): Message[] {
  return messages.map((message) => {
    if (limit === undefined || message.role !== "tool") return message;
    const text = contentText(message.content);
    return isLonger(text, limit) ? { ...message, content: shorten(text, limit) } : message;
  });
}

/** Gives calls without a result back the ids that they came with. */
function withWaitingIds(
  messages: readonly Message[],
  canonical: readonly Message[],
  given: readonly Message[],
): Message[] {
  const answered = new Set(canonical.map((message) => message.role === "tool" && message.tool_call_id));
  const known = new Map<string, string>();
  for (const [index, message] of canonical.entries()) {
    const original = given[index]!;
    if (message.role !== "assistant" || original.role !== "assistant") continue;
    message.tool_calls?.forEach((call, position) => {
      if (!answered.has(call.id)) known.set(call.id, original.tool_calls![position]!.id);
    });
  }
  return messages.map((message) => {
    if (message.role !== "assistant" || message.tool_calls === undefined) return message;
    const calls = message.tool_calls.map((call) => ({ ...call, id: known.get(call.id) ?? call.id }));
    return { ...message, tool_calls: calls };
  });
}
