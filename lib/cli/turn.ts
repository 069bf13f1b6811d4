// One question and everything until its answer: a run of the chat, shown while it goes on.

import type { Chat, Reply, RunFinishReason, RunOptions, SendInput, SessionTimings, Usage } from "../index";
import type { View } from "./view";

/** More answers than any question of this program needs: a model that goes on calls in a circle. */
const MOST_STEPS = 16;

const REASONS: Partial<Record<RunFinishReason, string>> = {
  "max-steps": `the model called tools in ${MOST_STEPS} rounds without an answer`,
  "repeated-calls": "the model made the same calls again and again",
  stopped: "a call was left without a result",
};

export interface Turn {
  /** The last one. */
  readonly reply: Reply;
  /** Sums over all replies. */
  readonly usage: Usage;
  readonly timings: SessionTimings;
  /** Why the turn ended before the model had answered; undefined when it has. */
  readonly stoppedBecause: string | undefined;
}

export interface TurnRequest {
  readonly chat: Chat;
  readonly input: SendInput;
  readonly view: View;
  readonly signal: AbortSignal;
  readonly options?: Omit<RunOptions, "signal" | "maxSteps">;
}

/** Runs the chat and shows it. Throws what `chat.run` throws. */
export async function runTurn({ chat, input, view, signal, options }: TurnRequest): Promise<Turn> {
  const before = chat.timings;
  const run = chat.run(input, { ...options, maxSteps: MOST_STEPS, signal });
  try {
    for await (const part of run) await view.part(part);
    const { steps, usage, finishReason } = await run.result();
    const turn: Turn = {
      reply: steps.at(-1)!.reply,
      usage,
      timings: since(before, chat.timings),
      stoppedBecause: REASONS[finishReason],
    };
    view.end(turn);
    return turn;
  } catch (error) {
    view.fail();
    throw error;
  }
}

/** A session that was given up in between starts again at zero. */
function since(before: SessionTimings, after: SessionTimings): SessionTimings {
  const isSame = after.prefillTokens >= before.prefillTokens && after.decodeTokens >= before.decodeTokens;
  if (!isSame) return after;
  return {
    prefillMs: after.prefillMs - before.prefillMs,
    prefillTokens: after.prefillTokens - before.prefillTokens,
    decodeMs: after.decodeMs - before.decodeMs,
    decodeTokens: after.decodeTokens - before.decodeTokens,
    draftedTokens: after.draftedTokens - before.draftedTokens,
    acceptedTokens: after.acceptedTokens - before.acceptedTokens,
  };
}
