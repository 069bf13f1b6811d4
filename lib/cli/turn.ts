// One question and everything until its answer: the model's replies, and the calls in between that somebody executes.

import type {
  Chat,
  Message,
  Reply,
  ReportedToolCall,
  SendInput,
  SendOptions,
  SessionTimings,
  Usage,
} from "../index";
import type { View } from "./view";

/** More rounds of calls than any question of this program needs: a model that goes on calls in a circle. */
const MOST_ROUNDS = 16;

/** The result of a call as text for the model, or why the call cannot be executed. */
export type CallOutcome = { content: string } | { refused: string };

export type ExecuteCall = (call: ReportedToolCall, signal: AbortSignal) => CallOutcome | Promise<CallOutcome>;

export interface Turn {
  /** The last one. */
  readonly reply: Reply;
  /** Sums over all replies. */
  readonly usage: Usage;
  readonly timings: SessionTimings;
  /** Why the turn ended before the model had answered; undefined when it has. */
  readonly stoppedBecause: string | undefined;
}

type Sums = Pick<Turn, "usage" | "timings">;

export interface TurnRequest {
  readonly chat: Chat;
  readonly input: SendInput;
  readonly view: View;
  readonly signal: AbortSignal;
  readonly options?: Omit<SendOptions, "signal">;
  /** Without it a turn ends with the first reply, calls or not. */
  readonly execute?: ExecuteCall | undefined;
}

/** Sends, shows, executes and sends again until the model calls no more. Throws what `chat.send` throws. */
export async function runTurn(request: TurnRequest): Promise<Turn> {
  try {
    const turn = await answer(request);
    request.view.end(turn);
    return turn;
  } catch (error) {
    request.view.fail();
    throw error;
  }
}

async function answer({ chat, input, view, signal, options, execute }: TurnRequest): Promise<Turn> {
  let next = input;
  let sums: Sums | undefined;
  for (let round = 1; ; round += 1) {
    const before = chat.timings;
    view.begin();
    const stream = chat.send(next, { ...options, signal });
    for await (const part of stream) await view.part(part);
    const reply = await stream.reply();
    sums = add(sums, { usage: reply.usage, timings: since(before, chat.timings) });
    const turn = { reply, ...sums, stoppedBecause: undefined };
    if (reply.finishReason !== "tool-calls" || execute === undefined) return turn;
    const results = await answerCalls(reply.toolCalls, execute, view, signal);
    if (typeof results === "string") return { ...turn, stoppedBecause: results };
    if (round === MOST_ROUNDS) {
      return { ...turn, stoppedBecause: `the model called tools in ${MOST_ROUNDS} rounds without an answer` };
    }
    next = results;
  }
}

/** The results as messages, or why there are none. */
async function answerCalls(
  calls: readonly ReportedToolCall[],
  execute: ExecuteCall,
  view: View,
  signal: AbortSignal,
): Promise<Message[] | string> {
  const messages: Message[] = [];
  for (const call of calls) {
    if (call.invalid !== undefined) return `the call cannot be executed: ${call.invalid.message}`;
    const outcome = await execute(call, signal);
    if ("refused" in outcome) return `the call cannot be executed: ${outcome.refused}`;
    view.result(call, outcome.content);
    messages.push({ role: "tool", tool_call_id: call.id, content: outcome.content });
  }
  return messages;
}

/** A session that was given up in between starts again at zero. */
function since(before: SessionTimings, after: SessionTimings): SessionTimings {
  const isSame = after.prefillTokens >= before.prefillTokens && after.decodeTokens >= before.decodeTokens;
  return isSame ? combine(after, before, -1) : after;
}

function add(sums: Sums | undefined, one: Sums): Sums {
  if (sums === undefined) return one;
  return { usage: combine(sums.usage, one.usage, 1), timings: combine(sums.timings, one.timings, 1) };
}

/** `left + sign * right`, field by field. */
function combine<T extends { [Key in keyof T]: number }>(left: T, right: T, sign: 1 | -1): T {
  const result = { ...left };
  for (const key of Object.keys(left) as (keyof T)[]) {
    result[key] = (left[key] + sign * right[key]) as T[keyof T];
  }
  return result;
}
