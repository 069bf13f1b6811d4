// The options of a run, and what comes out of it.

import { invalidArgument } from "../check";
import type { Compaction } from "../compact/compact-options";
import type { FinishReason, StreamPart, Usage } from "../generate/part";
import type { Message } from "../template/message";
import type { SendOptions } from "./chat";
import { type CompactSettings, parseCompact, type RunCompactOptions } from "./compact";
import type { ToolResult } from "./execute-call";
import { parseLimit } from "./options";
import { PartStream } from "./part-stream";
import type { Reply } from "./reply";

/** One answer of a run and the results of its calls. */
export interface RunStep {
  /** Counted from 1. */
  index: number;
  reply: Reply;
  /** In the order of the calls. */
  results: ToolResult[];
}

/** What `onStep` decides: end the run, or go on, with these messages first. */
export type StepDecision = "stop" | readonly Message[] | undefined;

/** Options of a run, over those of an answer. */
export type RunOptions = SendOptions & {
  /** Most answers, at least 1. Default 300. */
  maxSteps?: number;
  /**
   * Ends a run whose answers make the same calls this many times in a row, before they are executed; at least 2, default 3.
   */
  maxRepeats?: number;
  /**
   * Compacts the conversation between steps, so that a run can go on past the context: `{}` with all defaults. Without it
   * a run ends with "length" where an answer fills the context, or rejects with `context-full`.
   */
  compact?: RunCompactOptions;
  /**
   * Told every step when its tools are done. Messages for the last answer make the model go on. An abort ends the wait for
   * what it decides.
   */
  onStep?: (step: RunStep) => StepDecision | undefined | Promise<StepDecision | undefined>;
};

/** Why a run ended. "tool-calls": calls of tools without `execute` wait for their results. */
export type RunFinishReason = FinishReason | "max-steps" | "repeated-calls" | "stopped";

/** A whole run. */
export interface RunResult {
  /** The last answer; undefined if the run ended before one began. */
  reply: Reply | undefined;
  steps: RunStep[];
  /** Sums over all answers. */
  usage: Usage;
  finishReason: RunFinishReason;
}

/** One event of a run: those of its answers, and what happens between them. */
export type RunPart =
  | StreamPart
  | { type: "step-start"; step: number }
  /** The conversation was compacted; the next step follows. */
  | ({ type: "compaction" } & Compaction)
  /** In the order in which the tools finish. */
  | ({ type: "tool-result" } & ToolResult)
  /** The last part. */
  | { type: "run-finish"; finishReason: RunFinishReason; usage: Usage };

/** The parts of a run, to be read once, and its result. Returned by `chat.run()`. */
export class RunStream extends PartStream<RunPart, RunResult> {
  /** The whole run, once it has ended. Reads it to the end if nobody else does. */
  result(): Promise<RunResult> {
    return this.outcome();
  }
}

export interface RunLimits {
  maxSteps: number;
  maxRepeats: number;
  compact: CompactSettings | undefined;
  onStep: RunOptions["onStep"];
}

function parseRepeats(value: unknown): number {
  if (value === undefined) return 3;
  if (Number.isSafeInteger(value) && (value as number) >= 2) return value as number;
  throw invalidArgument("an integer of at least 2", "maxRepeats", value);
}

/** Separates the options of a run from those of its answers. */
export function parseRun(options: Record<string, unknown>): { limits: RunLimits; rest: SendOptions } {
  const { maxSteps, maxRepeats, compact, onStep, ...rest } = options;
  if (onStep !== undefined && typeof onStep !== "function") {
    throw invalidArgument("a function or undefined", "onStep", onStep);
  }
  const limits = {
    maxSteps: parseLimit(maxSteps, "maxSteps", 300),
    maxRepeats: parseRepeats(maxRepeats),
    compact: compact === undefined ? undefined : parseCompact(compact, "compact"),
    onStep: onStep as RunOptions["onStep"],
  };
  return { limits, rest: rest as SendOptions };
}
