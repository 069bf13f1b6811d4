// The loop of an agent: answer, execute the calls, answer again. The history is consistent at every moment that a caller
// can see: once an answer with calls is in it, all of them have results, except those that the caller is to answer.

import { invalidArgument } from "../check";
import { addUsage, emptyUsage } from "../generate/part";
import type { Message } from "../template/message";
import type { ReportedToolCall } from "../tools/call-parser";
import type { Room } from "./compact";
import { executeCall, failedCall, type ToolResult } from "./execute-call";
import type { ReplyStream } from "./reply";
import type { RunFinishReason, RunLimits, RunPart, RunResult, RunStep } from "./run-options";
import type { Executor } from "./tool";

/** The chat, as a run uses it. */
export interface RunHost {
  readonly executors: ReadonlyMap<string, Executor>;
  /** Parsed messages, none at all behind results of tools. */
  answer(messages: readonly Message[], isFirst: boolean): ReplyStream;
  /** Puts results into the history. */
  append(messages: readonly Message[]): void;
  /** Compacts the history before an answer to these messages, where that is due. */
  makeRoom(messages: readonly Message[]): Promise<Room | undefined>;
  /** The run is over; the chat is free. Called before the last part. */
  settle(result: RunResult): void;
  parse(messages: readonly Message[]): Message[];
}

/** Parts of one run. Fails as an answer fails; the history then ends with the last whole step. */
export async function* runSteps(
  host: RunHost,
  input: readonly Message[],
  limits: RunLimits,
  signal: AbortSignal,
): AsyncGenerator<RunPart, void, undefined> {
  const steps: RunStep[] = [];
  const usage = emptyUsage();
  const repeats = new RepeatGuard(limits.maxRepeats);
  const end = (finishReason: RunFinishReason): RunPart => {
    host.settle({ reply: steps.at(-1)?.reply, steps, usage, finishReason });
    return { type: "run-finish", finishReason, usage };
  };
  let open: Calls | undefined;
  let stream: ReplyStream | undefined;
  let isOver = false;
  try {
    for (let messages = input; ; ) {
      const index = steps.length + 1;
      // An abort in here ends the answer that follows before it begins.
      const room = await host.makeRoom(messages).catch((error: unknown) => {
        if (!signal.aborted) throw error;
      });
      if (room) {
        messages = room.input;
        yield { type: "compaction", ...room.compaction };
      }
      yield { type: "step-start", step: index };
      stream = host.answer(messages, index === 1);
      for await (const part of stream) yield part;
      const step: RunStep = { index, reply: await stream.reply(), results: [] };
      stream = undefined;
      steps.push(step);
      addUsage(usage, step.reply.usage);
      open = new Calls(host, step);
      let reason: RunFinishReason | undefined;
      if (step.reply.finishReason === "tool-calls") {
        if (repeats.isRepeated(step.reply.toolCalls)) reason = "repeated-calls";
        else for await (const result of open.execute(signal)) yield { type: "tool-result", ...result };
        if (reason === undefined && open.waitsForCaller) reason = "tool-calls";
      } else reason = step.reply.finishReason;
      open.close(
        reason === "repeated-calls" ? "the same call was made before, with the same arguments" : undefined,
      );
      open = undefined;
      if (signal.aborted) reason = "abort";
      const decision = await orAbort(limits.onStep?.(step), signal);
      if (signal.aborted) reason = "abort";
      const canGoOn = reason === undefined || reason === "stop";
      if (decision === "stop" && canGoOn) reason = "stopped";
      if (decision !== undefined && decision !== "stop" && !Array.isArray(decision)) {
        throw invalidArgument('"stop", an array of messages or undefined', "the result of onStep", decision);
      }
      const added = Array.isArray(decision) && canGoOn && decision.length > 0 ? host.parse(decision) : [];
      if (added.length > 0) reason = undefined;
      if (reason === undefined && steps.length >= limits.maxSteps) {
        host.append(added);
        reason = "max-steps";
      }
      if (reason !== undefined) {
        isOver = true;
        yield end(reason);
        return;
      }
      messages = added;
    }
  } catch (error) {
    isOver = true;
    throw error;
  } finally {
    if (!isOver) {
      // The loop was left early, in an answer or between tools.
      if (stream !== undefined) {
        const reply = await stream.reply();
        const step = { index: steps.length + 1, reply, results: [] };
        steps.push(step);
        addUsage(usage, reply.usage);
        open = new Calls(host, step);
      }
      open?.close();
      end("abort");
    }
  }
}

/** Whatever the caller's hook does, an abort ends the wait for it. */
async function orAbort<T>(outcome: T | Promise<T>, signal: AbortSignal): Promise<T | undefined> {
  let stopListening = () => {};
  const whenAborted = new Promise<undefined>((resolve) => {
    const abort = () => resolve(undefined);
    if (signal.aborted) abort();
    signal.addEventListener("abort", abort);
    stopListening = () => signal.removeEventListener("abort", abort);
  });
  try {
    // The hook first: what it has decided or thrown already counts.
    return await Promise.race([outcome, whenAborted]);
  } finally {
    stopListening();
  }
}

/** The calls of one answer on their way to results. */
class Calls {
  private readonly host: RunHost;
  private readonly step: RunStep;
  private readonly done = new Map<string, ToolResult>();
  private readonly left = new Set<string>();

  constructor(host: RunHost, step: RunStep) {
    this.host = host;
    this.step = step;
  }

  get waitsForCaller(): boolean {
    return this.left.size > 0;
  }

  /** Runs all calls side by side and gives results as they come. */
  async *execute(signal: AbortSignal): AsyncGenerator<ToolResult, void, undefined> {
    const pending = new Map<string, Promise<ToolResult>>();
    for (const call of this.calls()) {
      const executor = this.host.executors.get(call.function.name);
      if (call.invalid !== undefined)
        pending.set(call.id, Promise.resolve(failedCall(call, call.invalid.message)));
      else if (executor?.execute === undefined) this.left.add(call.id);
      else pending.set(call.id, executeCall(call, executor, { id: call.id, signal }));
    }
    while (pending.size > 0) {
      const result = await Promise.race(pending.values());
      pending.delete(result.id);
      this.done.set(result.id, result);
      yield result;
    }
  }

  /** Gives every call that nobody will answer a result, and puts all of them into the history. */
  close(reason = "the answer or the run was ended before it"): void {
    for (const call of this.calls()) {
      if (this.left.has(call.id)) continue;
      const none = `Expected the call to be executed, got none: ${reason}`;
      this.step.results.push(this.done.get(call.id) ?? failedCall(call, none));
    }
    this.host.append(
      this.step.results.map(({ id, content }) => ({ role: "tool", tool_call_id: id, content })),
    );
  }

  /** Calls that were cut off are no part of the history. */
  private calls(): ReportedToolCall[] {
    return this.step.reply.toolCalls.filter((call) => call.invalid?.reason !== "incomplete");
  }
}

/** Notices answers that make the same calls again and again. */
class RepeatGuard {
  private readonly limit: number;
  private last = "";
  private count = 0;

  constructor(limit: number) {
    this.limit = limit;
  }

  isRepeated(calls: readonly ReportedToolCall[]): boolean {
    const keys = calls.map((call) => JSON.stringify([call.function.name, call.function.arguments]));
    const key = [...new Set(keys)].sort().join();
    this.count = key === this.last ? this.count + 1 : 1;
    this.last = key;
    return this.count > 1 && this.count >= this.limit;
  }
}
