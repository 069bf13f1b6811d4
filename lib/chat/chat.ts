// A conversation: history, tools, and one answer at a time. Each send lays out the whole conversation, keeps what the
// session has already computed of it, prefills the rest, and streams the answer.

import {
  checkSignal,
  invalidArgument,
  optionalBoolean,
  refuseUnknownKeys,
  requireObject,
  requireString,
} from "../check";
import type { Compaction } from "../compact/compact-options";
import { K2Error } from "../errors";
import { emptyUsage, type FinishReason, type StreamPart, type Usage } from "../generate/part";
import type { SampledToken, SamplingOptions } from "../sampling";
import type { Routing, RoutingOptions } from "../session/routing";
import type { CallOptions, SessionTimings } from "../session/session";
import { canonicalToolCalls } from "../template/call-ids";
import type { ChatTemplate, RenderOptions } from "../template/chat-template";
import { type Message, parseMessages } from "../template/message";
import { PromptEncoder, type Segment } from "../template/segments";
import type { ToolDefinition } from "../template/tool-definition";
import { TimeSlice } from "../time-slice";
import { type AnswerContext, type AnswerRequest, generateAnswer } from "./answer";
import { type CompactHost, type CompactOptions, compactHistory, makeRoom, parseCompact } from "./compact";
import { type ContextUse, contextUse } from "./context-use";
import type { ChatEngine, ChatSession } from "./engine";
import { ChatGrammars } from "./grammars";
import { type ChatNote, encodeChatNote } from "./note";
import { definedEntries, parseTurn, type Turn, type TurnOptions } from "./options";
import { type Answer, type FormattedValue, type Reply, ReplyBuilder, ReplyStream, readValue } from "./reply";
import { attempt, forwardAbort, parseInput } from "./request";
import { type RunHost, runSteps } from "./run";
import {
  parseRun,
  type RunLimits,
  type RunOptions,
  type RunPart,
  type RunResult,
  RunStream,
} from "./run-options";
import { ChatTimeline } from "./timeline";
import { type Executor, parseChatTools, type Tool } from "./tool";

/** Options of a chat. Those of an answer are the defaults of all its answers. */
export type ChatOptions<Value = unknown> = TurnOptions<Value> &
  SamplingOptions & {
    /** The system prompt, instead of the model's own. */
    system?: string;
    tools?: readonly (ToolDefinition | Tool)[];
    /** A conversation to go on with. */
    messages?: readonly Message[];
    /** Whether the chat remembers which experts the router chose for each token, for `chat.routing()`. Default: false. */
    trace?: boolean;
  };

/** Options of one answer, over those of the chat. */
export type SendOptions<Value = unknown> = TurnOptions<Value> &
  SamplingOptions & {
    /** Ends the answer with `finishReason` "abort"; what came so far is kept. */
    signal?: AbortSignal;
  };

/**
 * Text is a message of the user. Results of tools are messages of role "tool". An empty array goes on with a conversation
 * whose last message is one of these.
 */
export type SendInput = string | Message | readonly Message[];

/** What a chat goes on with that comes from a file, besides its messages. */
export interface RestoredChat {
  session: ChatSession;
  nextCall: ChatNote["nextCall"];
}

/** A conversation: its history, its tools, and one answer at a time. Made by `model.createChat()`. */
export class Chat {
  /** What the model may call, as declared. */
  readonly tools: readonly ToolDefinition[];
  private readonly engine: ChatEngine;
  private readonly template: ChatTemplate;
  private readonly prompts: PromptEncoder;
  private readonly defaults: Record<string, unknown>;
  private readonly executors: ReadonlyMap<string, Executor>;
  private readonly answers: AnswerContext;
  private readonly history: Message[];
  private readonly timeline: ChatTimeline;
  /** Ends the answer that runs; undefined between answers. */
  private running: AbortController | undefined;
  /** Ends the run that is under way; undefined between runs. */
  private activeRun: AbortController | undefined;
  /** Of the next call, if it is beyond those of the history: ids of calls that were compacted away do not come again. */
  private nextCall: number;
  private isDisposed = false;

  /**
   * @throws K2Error `invalid-argument` for wrong options; `missing-tokenizer` or `unsupported-checkpoint` from an engine
   *   that has no chat layout.
   * @param restored What goes on from a file; by default the first answer begins a session.
   */
  constructor(engine: ChatEngine, options: ChatOptions = {}, restored?: RestoredChat) {
    const { system, tools, messages, trace, ...defaults } = definedEntries(options, "options");
    this.engine = engine;
    this.template = engine.template;
    this.prompts = new PromptEncoder(engine.tokenizer);
    this.timeline = new ChatTimeline(
      engine,
      { trace: optionalBoolean(trace, "trace") ?? false },
      restored?.session,
    );
    this.nextCall = restored?.nextCall ?? 0;
    const { definitions, executors } = parseChatTools(tools ?? []);
    this.tools = definitions;
    this.executors = executors;
    const { prompts, timeline } = this;
    const grammars = new ChatGrammars(engine, definitions);
    this.answers = { engine, prompts, timeline, grammars, tools: definitions };
    this.history = messages === undefined ? [] : parseMessages(messages);
    if (system !== undefined) {
      if (this.history[0]?.role === "system") {
        throw new K2Error(
          "invalid-argument",
          "Expected one system prompt, got the option system and a system message in messages[0]",
          { option: "system" },
        );
      }
      this.history.unshift({ role: "system", content: requireString(system, "system") });
    }
    if (defaults.signal !== undefined) {
      throw invalidArgument("no signal (it is an option of send)", "signal", defaults.signal);
    }
    this.defaults = defaults;
    const turn = parseTurn(defaults, engine, definitions);
    this.layOut(canonicalToolCalls(this.history).messages, turn);
  }

  /** The conversation so far, a copy in OpenAI's shapes that another chat can go on with. */
  get messages(): Message[] {
    return structuredClone(this.history);
  }

  /**
   * Time that forward passes of this chat took, and tokens that went through them. Sums since its session began: the
   * first answer begins one, and so does the answer after a failure.
   */
  get timings(): SessionTimings {
    return this.timeline.timings;
  }

  /**
   * Which experts the router chose for the tokens of the conversation as it was last laid out, its prompt included.
   * Positions are those of the tokens: an answer begins at its `usage.promptTokens`.
   * @throws K2Error `invalid-state` for a chat that was created without `trace`, or while it answers; otherwise like
   *   `session.routing`.
   */
  async routing(options: RoutingOptions = {}): Promise<Routing> {
    this.checkFree("routing", this.activeRun);
    return this.timeline.routing(options);
  }

  /**
   * Adds messages and answers. The answer starts when its parts or its reply are first asked for; wrong arguments and
   * failures reject there, and the history is then as before. An answer that was aborted or left early stays in the
   * history as far as it came, without calls that were cut off; if nothing came, neither do the new messages.
   */
  send<const Value = unknown>(input: SendInput, options: SendOptions<Value> = {}): ReplyStream<Value> {
    // Copied at once, so that what the caller does with the objects later does not matter.
    const request = attempt(() => ({
      messages: parseInput(input, this.history),
      turn: this.parseOptions(options),
    }));
    const usage = emptyUsage();
    const answer: Answer = (deliver) => this.answer(request, usage, deliver);
    // The format's own type comes out of it, as far as TypeScript can know.
    return new ReplyStream(answer, () => new ReplyBuilder().build("abort", usage)) as ReplyStream<Value>;
  }

  /**
   * Answers, executes the calls of tools that have `execute`, side by side where the model asked for several, and answers
   * again until the model calls no more. Results are in the history as soon as the tools of a step are done; a call that
   * was not executed has a result that says so. A failure rejects, and the history then ends with the last whole step.
   */
  run(input: SendInput, options: RunOptions = {}): RunStream {
    const request = attempt(() => {
      const { limits, rest } = parseRun(definedEntries(options, "options"));
      return { messages: parseInput(input, this.history), turn: this.parseOptions(rest), limits };
    });
    const usage = emptyUsage();
    return new RunStream(
      (deliver) => this.steps(request, deliver),
      () => ({ reply: undefined, steps: [], usage, finishReason: "abort" }),
    );
  }

  /**
   * How much of the context the next prompt takes, exactly: the conversation so far and `input`, laid out and tokenised as
   * `send` would. An answer may always use all that is free and then ends with `finishReason` "length"; `maxTokens` is a
   * limit, not a demand, so whoever needs that much room asks here first. A prompt that does not fit is no error here.
   * @throws K2Error `invalid-argument` for what `send` would reject.
   */
  async contextUse(input?: SendInput, options: SendOptions = {}): Promise<ContextUse> {
    const messages = input === undefined ? [] : parseInput(input, this.history);
    const turn = this.parseOptions(options);
    const { segments } = this.prompt([...this.history, ...messages], turn);
    const ids = await this.prompts.encode(segments, turn.signal, this.timeline.tokens);
    return contextUse(ids.length, this.engine.contextTokens);
  }

  /**
   * Makes room: removes the oldest steps (answers of the model with the results of their calls, and questions with their
   * last step), or replaces them by a summary, until the prompt takes `targetTokens`. Where the latest steps alone are too
   * long, results of tools are shortened. `compactMessages` says what stays. The history changes only when all has
   * succeeded; a conversation that is small enough stays as it is. `run` does it by itself with its option `compact`.
   * @throws K2Error `context-full` where what has to stay takes more; `invalid-argument`; `invalid-state` while an answer
   *   or a run is under way; `aborted`; whatever a function `summarize` throws.
   */
  async compact(options: CompactOptions = {}): Promise<Compaction> {
    const settings = parseCompact(options, "options");
    this.checkFree("compact");
    const controller = new AbortController();
    this.running = controller;
    const stopListening = forwardAbort(settings.signal, controller);
    try {
      return await compactHistory(this.compactHost(this.parseOptions({})), settings, controller.signal);
    } finally {
      stopListening();
      this.running = undefined;
    }
  }

  /**
   * Writes the conversation to a file: its messages, the definitions of its tools, and what the session has computed. From
   * it `model.restoreChat` makes a chat that goes on without computing anything again. The file takes the place of `path`
   * in one step, as by `session.save`. A chat without an answer so far has only messages to write.
   * In a run it is for `onStep`, which has to wait for it: what is saved there goes on with `run([])`.
   * @throws K2Error what `session.save` throws; `invalid-state` while an answer is under way, or a step of a run.
   */
  async save(path: string, options: CallOptions = {}): Promise<void> {
    refuseUnknownKeys(requireObject(options, "options"), SAVE_KEYS, "options");
    const signal = checkSignal(options.signal);
    const controller = this.begin(this.activeRun, "save");
    const stopListening = forwardAbort(signal, controller);
    try {
      const nextCall = Math.max(this.nextCall, canonicalToolCalls(this.history).nextCall);
      const note = encodeChatNote({ messages: this.history, tools: this.tools, nextCall });
      await this.timeline.save(path, note, controller.signal);
    } finally {
      stopListening();
      if (this.running === controller) this.running = undefined;
    }
  }

  /** Ends a running answer or run and gives back the session's memory. Later sends reject with `invalid-state`. */
  async dispose(): Promise<void> {
    this.isDisposed = true;
    this.activeRun?.abort();
    this.running?.abort();
    await this.timeline.drop();
  }

  /** For `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose();
  }

  private async *steps(
    request: () => { messages: Message[]; turn: Turn; limits: RunLimits },
    deliver: (result: RunResult) => void,
  ): AsyncGenerator<RunPart, void, undefined> {
    const { messages, turn, limits } = request();
    this.checkFree("run");
    const run = new AbortController();
    this.activeRun = run;
    const stopListening = forwardAbort(turn.signal, run);
    const finish = () => {
      stopListening();
      if (this.activeRun === run) this.activeRun = undefined;
    };
    const host: RunHost = {
      executors: this.executors,
      answer: (added, isFirst) => {
        const usage = emptyUsage();
        // A choice that held for every answer would never let the run end.
        const toolChoice = isFirst || turn.toolChoice === "none" ? turn.toolChoice : "auto";
        const request = () => ({ messages: [...added], turn: { ...turn, toolChoice, signal: run.signal } });
        const answer: Answer = (deliver) => this.answer(request, usage, deliver, run);
        return new ReplyStream(answer, () => new ReplyBuilder().build("abort", usage));
      },
      append: (added) => this.history.push(...added),
      makeRoom: async (added) => {
        const { compact } = limits;
        return compact && makeRoom(this.compactHost(turn), added, compact, turn.maxTokens, run.signal);
      },
      settle: (result) => {
        finish();
        deliver(result);
      },
      parse: (added) => parseMessages(added),
    };
    try {
      yield* runSteps(host, messages, limits, run.signal);
    } finally {
      finish();
      // Tools of a run that was left or failed are told that nobody waits.
      run.abort();
    }
  }

  private async *answer(
    request: () => { messages: Message[]; turn: Turn },
    usage: Usage,
    deliver: (reply: Reply) => void,
    run?: AbortController,
  ): AsyncGenerator<StreamPart, void, undefined> {
    const { messages, turn } = request();
    const controller = this.begin(run);
    const stopListening = forwardAbort(turn.signal, controller);
    const { logprobs, topLogprobs = 0 } = turn.sampling;
    const tokens: SampledToken[] | undefined = logprobs || topLogprobs > 0 ? [] : undefined;
    const builder = new ReplyBuilder(tokens);
    let isSettled = false;
    let isCut = false;
    const cut = () => {
      isCut = true;
    };
    const settle = (finishReason: FinishReason, value: FormattedValue = {}) => {
      isSettled = true;
      stopListening();
      const reply = { ...builder.build(finishReason, usage), ...value };
      // A turn without a single token was not one: the same messages can be sent again.
      if (usage.completionTokens > 0) this.history.push(...messages, structuredClone(reply.message));
      // Whoever sees the last part may send again at once.
      this.running = undefined;
      deliver(reply);
    };
    try {
      const { signal } = controller;
      // The caller's own turn of the event loop may have made the chat, which takes as long as laying out the prompt.
      await new TimeSlice("starting an answer").pause();
      const all = [...this.history, ...messages];
      for await (const part of this.generate(all, { turn, usage, tokens, cut, signal })) {
        if (part.type !== "finish") {
          builder.add(part);
        } else {
          if (part.error !== undefined) throw part.error;
          const reply = builder.build(part.finishReason, usage);
          settle(part.finishReason, await readValue(turn, reply, isCut));
        }
        yield part;
      }
    } catch (error) {
      isSettled = true;
      await this.timeline.afterFailure(error);
      throw error;
    } finally {
      // The loop was left early.
      if (!isSettled) settle("abort");
      stopListening();
      if (this.running === controller) this.running = undefined;
    }
  }

  private compactHost(turn: Turn): CompactHost {
    this.nextCall = Math.max(this.nextCall, canonicalToolCalls(this.history).nextCall);
    return {
      contextTokens: this.engine.contextTokens,
      history: this.history,
      count: (messages, signal) =>
        this.prompts.count(this.prompt(messages, turn).segments, signal, this.timeline.tokens),
      answer: (messages, limits, signal) => {
        const plain: Turn = { ...turn, ...limits, stop: [], toolChoice: "none", format: undefined };
        return this.generate(messages, { turn: plain, usage: emptyUsage(), signal });
      },
      afterFailure: (error) => this.timeline.afterFailure(error),
    };
  }

  private generate(
    messages: readonly Message[],
    request: Omit<AnswerRequest, "segments" | "firstCallIndex">,
  ): AsyncGenerator<StreamPart, void, undefined> {
    const { conversation, segments } = this.prompt(messages, request.turn);
    const firstCallIndex = Math.max(this.nextCall, conversation.nextCall);
    return generateAnswer(this.answers, { ...request, segments, firstCallIndex });
  }

  /** @param run The run that an answer belongs to. */
  private begin(run: AbortController | undefined, call = "send"): AbortController {
    this.checkFree(call, run);
    this.running = new AbortController();
    return this.running;
  }

  private checkFree(call: string, run?: AbortController): void {
    if (this.isDisposed)
      throw new K2Error("invalid-state", `Expected an open chat for ${call}, got a disposed one`);
    if (this.activeRun !== run)
      throw new K2Error("invalid-state", `Expected a chat without a run for ${call}, got one that runs`);
    if (this.running === undefined) return;
    const got = "one whose answer has not been read to its end";
    throw new K2Error("invalid-state", `Expected a chat without a running answer for ${call}, got ${got}`);
  }

  /** Errors count messages from the caller's first. */
  private prompt(messages: readonly Message[], turn: Turn) {
    const conversation = canonicalToolCalls(messages, "messages", this.history.length);
    return { conversation, segments: this.layOut(conversation.messages, turn) };
  }

  private layOut(messages: readonly Message[], { thinking, keepReasoning }: Turn): Segment[] {
    const options: RenderOptions = { tools: this.tools };
    if (thinking !== undefined) options.thinking = thinking;
    if (keepReasoning !== undefined) options.keepReasoning = keepReasoning;
    return this.template.render(messages, options);
  }

  private parseOptions(options: SendOptions): Turn {
    return parseTurn({ ...this.defaults, ...definedEntries(options, "options") }, this.engine, this.tools);
  }
}

const SAVE_KEYS: ReadonlySet<string> = new Set(["signal"]);
