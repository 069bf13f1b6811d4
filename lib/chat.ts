// A conversation: history, tools, and one answer at a time. Each send lays out the whole conversation, keeps what the
// session has already computed of it, prefills the rest, and streams the answer.

import type { ChatEngine, ChatSession } from "./chat-engine";
import { ChatGrammars } from "./chat-grammars";
import { encodeChatNote } from "./chat-note";
import { definedEntries, parseTurn, type Turn, type TurnOptions } from "./chat-options";
import {
  checkSignal,
  invalidArgument,
  optionalBoolean,
  refuseUnknownKeys,
  requireObject,
  requireString,
} from "./check";
import { K2Error } from "./errors";
import { type ClosedThinking, generate } from "./generate/generate";
import { emptyUsage, type FinishReason, type StreamPart, type Usage } from "./generate/part";
import type { TokenSource } from "./generate/token-source";
import { type Answer, type FormattedValue, type Reply, ReplyBuilder, ReplyStream, readValue } from "./reply";
import type { Routing, RoutingOptions, SessionOptions } from "./routing";
import { type RunHost, runSteps } from "./run";
import {
  parseRun,
  type RunLimits,
  type RunOptions,
  type RunPart,
  type RunResult,
  RunStream,
} from "./run-options";
import type { SampledToken, SamplingOptions } from "./sampling";
import type { CallOptions, SessionTimings } from "./session";
import { canonicalToolCalls } from "./template/call-ids";
import type { ChatTemplate, RenderOptions } from "./template/chat-template";
import { type Message, parseMessage, parseMessages } from "./template/message";
import { encodeSegments, opensThinking, PromptEncoder, type Segment } from "./template/segments";
import type { ToolDefinition } from "./template/tool-definition";
import { type Executor, parseChatTools, type Tool } from "./tool";
import { createKimiK2CallParser } from "./tools/kimi-k2-call-parser";
import type { ThinkingState } from "./tools/turn-grammar";

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

/** Text is a message of the user. Results of tools are messages of role "tool". */
export type SendInput = string | Message | readonly Message[];

/** A conversation: its history, its tools, and one answer at a time. Made by `model.createChat()`. */
export class Chat {
  /** What the model may call, as declared. */
  readonly tools: readonly ToolDefinition[];
  private readonly engine: ChatEngine;
  private readonly template: ChatTemplate;
  private readonly prompts: PromptEncoder;
  private readonly defaults: Record<string, unknown>;
  private readonly executors: ReadonlyMap<string, Executor>;
  private readonly grammars: ChatGrammars;
  private readonly history: Message[];
  private readonly sessionOptions: SessionOptions;
  private session: ChatSession | undefined;
  /** Calls of `routing` that have the session until this settles, which it does without an error. */
  private reading: Promise<unknown> | undefined;
  /** Ends the answer that runs; undefined between answers. */
  private running: AbortController | undefined;
  /** Ends the run that is under way; undefined between runs. */
  private activeRun: AbortController | undefined;
  private isDisposed = false;

  /**
   * @throws K2Error `invalid-argument` for wrong options; `missing-tokenizer` or `unsupported-checkpoint` from an engine
   *   that has no chat layout.
   * @param session A timeline to go on with; by default the first answer begins one.
   */
  constructor(engine: ChatEngine, options: ChatOptions = {}, session?: ChatSession) {
    const { system, tools, messages, trace, ...defaults } = definedEntries(options, "options");
    this.engine = engine;
    this.session = session;
    this.sessionOptions = { trace: optionalBoolean(trace, "trace") ?? false };
    this.template = engine.template;
    this.prompts = new PromptEncoder(engine.tokenizer);
    const { definitions, executors } = parseChatTools(tools ?? []);
    this.tools = definitions;
    this.executors = executors;
    this.grammars = new ChatGrammars(engine, definitions);
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
    return this.session?.timings ?? { prefillMs: 0, prefillTokens: 0, decodeMs: 0, decodeTokens: 0 };
  }

  /**
   * Which experts the router chose for the tokens of the conversation as it was last laid out, its prompt included.
   * Positions are those of the tokens: an answer begins at its `usage.promptTokens`.
   * @throws K2Error `invalid-state` for a chat that was created without `trace`, or while it answers; otherwise like
   *   `session.routing`.
   */
  async routing(options: RoutingOptions = {}): Promise<Routing> {
    this.checkFree("routing", this.activeRun);
    this.session ??= this.engine.createSession(this.sessionOptions);
    const { session } = this;
    if (!this.sessionOptions.trace || session.routing === undefined) {
      throw new K2Error(
        "invalid-state",
        "Expected a chat with the option trace for routing, got one without",
      );
    }
    const routing = Promise.resolve(this.reading).then(() => session.routing!(options));
    this.reading = routing.catch(() => {});
    return routing;
  }

  /**
   * Adds messages and answers. The answer starts when its parts or its reply are first asked for; wrong arguments and
   * failures reject there, and the history is then as before. An answer that was aborted or left early stays in the
   * history as far as it came, without calls that were cut off; if nothing came, neither do the new messages.
   */
  send<const Value = unknown>(input: SendInput, options: SendOptions<Value> = {}): ReplyStream<Value> {
    // Copied at once, so that what the caller does with the objects later does not matter.
    const request = attempt(() => ({ messages: parseInput(input), turn: this.parseOptions(options) }));
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
      return { messages: parseInput(input), turn: this.parseOptions(rest), limits };
    });
    const usage = emptyUsage();
    return new RunStream(
      (deliver) => this.steps(request, deliver),
      () => ({ reply: undefined, steps: [], usage, finishReason: "abort" }),
    );
  }

  /**
   * Writes the conversation to a file: its messages, the definitions of its tools, and what the session has computed. From
   * it `model.restoreChat` makes a chat that goes on without computing anything again. The file takes the place of `path`
   * in one step, as by `session.save`. A chat without an answer so far has only messages to write.
   * @throws K2Error what `session.save` throws; `invalid-state` while an answer or a run is under way.
   */
  async save(path: string, options: CallOptions = {}): Promise<void> {
    refuseUnknownKeys(requireObject(options, "options"), SAVE_KEYS, "options");
    const signal = checkSignal(options.signal);
    const controller = this.begin(undefined, "save");
    const stopListening = forwardAbort(signal, controller);
    try {
      this.session ??= this.engine.createSession(this.sessionOptions);
      const note = encodeChatNote(this.history, this.tools);
      if (this.session.saveWithNote === undefined) {
        throw new K2Error("unavailable", "Expected an engine with files for save, got one without");
      }
      await this.session.saveWithNote(path, { signal: controller.signal }, note);
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
    await this.dropSession();
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
      for await (const part of this.generate({ messages, turn, usage, tokens, signal: controller.signal })) {
        if (part.type !== "finish") {
          builder.add(part);
        } else {
          if (part.error !== undefined) throw part.error;
          settle(part.finishReason, await readValue(turn, builder.build(part.finishReason, usage)));
        }
        yield part;
      }
    } catch (error) {
      isSettled = true;
      if (endsSession(error)) await this.dropSession();
      throw error;
    } finally {
      // The loop was left early.
      if (!isSettled) settle("abort");
      stopListening();
      if (this.running === controller) this.running = undefined;
    }
  }

  private generate(request: {
    messages: readonly Message[];
    turn: Turn;
    usage: Usage;
    tokens: SampledToken[] | undefined;
    signal: AbortSignal;
  }): AsyncGenerator<StreamPart, void, undefined> {
    const { messages, turn, usage, tokens, signal } = request;
    const { engine } = this;
    const all = [...this.history, ...messages];
    const conversation = canonicalToolCalls(all, "messages", this.history.length);
    const segments = this.layOut(conversation.messages, turn);
    const stopTokens = [...new Set([...engine.stopTokens, ...turn.stopTokens])];
    const thinking = opensThinking(segments) ? "open" : turn.thinking === false ? "over" : "possible";
    const parser = createKimiK2CallParser({
      tokenizer: engine.tokenizer,
      endTokens: stopTokens,
      tools: this.tools,
      firstCallIndex: conversation.nextCall,
      startsThinking: thinking === "open",
    });
    const decode = async (session: ChatSession, maxTokens: number, state: ThinkingState) => {
      const grammar = await this.grammars.of(turn, state);
      const by = grammar === undefined ? {} : { grammar, grammarIndex: conversation.nextCall };
      return session.decode({ ...turn.sampling, ...by, maxTokens, stopTokens, signal });
    };
    const start = async (): Promise<TokenSource> => {
      const ids = await this.prompts.encode(segments, signal);
      usage.promptTokens = usage.totalTokens = ids.length;
      const room = engine.contextTokens - ids.length;
      if (room < 0) throw contextFull(ids.length, engine.contextTokens);
      if (room === 0) return FULL;
      // Before the prompt is computed: a schema that cannot be enforced is found out at once.
      await this.grammars.of(turn, thinking);
      return decode(await this.prefill(ids, usage, signal), Math.min(turn.maxTokens, room), thinking);
    };
    const closeThinking = async (): Promise<ClosedThinking> => {
      // The message is said once; a block that the model opens again is closed without it.
      const message = usage.insertedTokens === 0 ? THINKING_MESSAGE : "";
      const ids = encodeSegments(endOfThinking(message), engine.tokenizer);
      const room = Math.min(turn.maxTokens, engine.contextTokens - usage.promptTokens);
      const maxTokens = room - usage.completionTokens - ids.length;
      if (maxTokens <= 0) return { ids: [], source: FULL };
      const session = this.session!;
      await session.prefill(ids, { signal });
      return { ids, source: await decode(session, maxTokens, "over") };
    };
    return generate({
      start,
      thinkingBudget: { tokens: turn.maxThinkingTokens, close: closeThinking },
      parser,
      usage,
      stop: turn.stop,
      signal,
      onToken: tokens && ((token) => tokens.push(token)),
    });
  }

  /** Brings the session's timeline to `ids`, keeping their common beginning. */
  private async prefill(ids: Int32Array, usage: Usage, signal: AbortSignal): Promise<ChatSession> {
    await this.reading;
    this.session ??= this.engine.createSession(this.sessionOptions);
    const { session } = this;
    // The last token is always computed anew: decoding starts from its logits.
    const kept = Math.min(commonLength(session.tokens, ids), ids.length - 1);
    if (kept < session.position) await session.rewind(kept);
    const { cachedTokens } = await session.prefill(ids.subarray(kept), { signal });
    usage.cachedTokens = kept + cachedTokens;
    return session;
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

  private layOut(messages: readonly Message[], { thinking, keepReasoning }: Turn): Segment[] {
    const options: RenderOptions = { tools: this.tools };
    if (thinking !== undefined) options.thinking = thinking;
    if (keepReasoning !== undefined) options.keepReasoning = keepReasoning;
    return this.template.render(messages, options);
  }

  private parseOptions(options: SendOptions): Turn {
    return parseTurn({ ...this.defaults, ...definedEntries(options, "options") }, this.engine, this.tools);
  }

  private async dropSession(): Promise<void> {
    const { session } = this;
    this.session = undefined;
    await session?.dispose();
  }
}

const SAVE_KEYS: ReadonlySet<string> = new Set(["signal"]);

/** What the model reads as its own last thought when its budget is used up; cut off in the middle it would think on. */
const THINKING_MESSAGE = "\n\nThat is enough thinking. I will answer now.\n";

function endOfThinking(message: string): Segment[] {
  const close: Segment = { kind: "control", name: "</think>" };
  return message === "" ? [close] : [{ kind: "template", text: message }, close];
}

/** The decode of a prompt that leaves no room. */
const FULL: TokenSource = { end: "context-full", async *[Symbol.asyncIterator]() {} };

function parseInput(input: unknown): Message[] {
  if (typeof input === "string") return [{ role: "user", content: input }];
  if (!Array.isArray(input)) {
    if (typeof input === "object" && input !== null) return [parseMessage(input, "message")];
    throw invalidArgument("a string, a message or an array of messages", "input", input);
  }
  if (input.length === 0) throw invalidArgument("at least one message", "input", input);
  return parseMessages(input);
}

/** Runs at once, and throws only when the result is asked for. */
function attempt<T>(action: () => T): () => T {
  try {
    const result = action();
    return () => result;
  } catch (error) {
    return () => {
      throw error;
    };
  }
}

/** Aborts `controller` when `signal` fires; the returned function stops that. */
function forwardAbort(signal: AbortSignal | undefined, controller: AbortController): () => void {
  if (signal === undefined) return () => {};
  const abort = () => controller.abort();
  if (signal.aborted) abort();
  signal.addEventListener("abort", abort);
  return () => signal.removeEventListener("abort", abort);
}

/** Number of equal ids at the beginning. */
function commonLength(left: ArrayLike<number>, right: ArrayLike<number>): number {
  const length = Math.min(left.length, right.length);
  let common = 0;
  while (common < length && left[common] === right[common]) common += 1;
  return common;
}

/** Whether a failure leaves a session that cannot be used again; all others leave it as it was. */
function endsSession(error: unknown): boolean {
  const harmless = ["invalid-argument", "unsupported-checkpoint", "context-full", "out-of-memory", "aborted"];
  return !(error instanceof K2Error && harmless.includes(error.code));
}

function contextFull(promptTokens: number, contextTokens: number): K2Error {
  return new K2Error(
    "context-full",
    `Expected a prompt of at most ${contextTokens} tokens for the context, got ${promptTokens}`,
    { promptTokens, contextTokens },
  );
}
