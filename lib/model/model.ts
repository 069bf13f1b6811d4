// A loaded model: an opened checkpoint, its tokenizer, and the engine that computes with it. Immutable and shared by
// all its sessions and chats.

import type { NativeEngine, NativeSession } from "../addon/contract";
import { loadAddon } from "../addon/load";
import { settle, toK2Error } from "../addon/native-error";
import { Chat, type ChatOptions } from "../chat/chat";
import { aborted, checkSignal, requireObject } from "../check";
import { expertSizesOf, forecastMemory, type MemoryForecast } from "../checkpoint/memory-forecast";
import type { ModelConfig } from "../checkpoint/model-config";
import { isMoeLayer } from "../checkpoint/model-config";
import { type Checkpoint, openCheckpoint } from "../checkpoint/open-checkpoint";
import { K2Error } from "../errors";
import { Grammars } from "../session/grammars";
import { checkSessionOptions, type RoutingShape, type SessionOptions } from "../session/routing";
import { type CallOptions, Session, type SessionFacts } from "../session/session";
import type { RenderOptions } from "../template/chat-template";
import type { Message } from "../template/message";
import { renderPrompt } from "../template/render-prompt";
import type { Tokenizer } from "../tokenizer/tokenizer";
import { createChatEngine } from "./chat-engine";
import { type ExpertReads, toExpertReads } from "./expert-reads";
import { checkRestore, type RestoreChatOptions, restoreChat, restoreSession } from "./files";
import {
  type CheckedLoadOptions,
  checkLoadOptions,
  type Device,
  defaultContext,
  type LoadOptions,
  toDevices,
} from "./load-options";
import { type ModelText, readModelText } from "./text";

/**
 * Opens a checkpoint folder as published and prepares it for computing. Weights are mapped, not read.
 * @throws K2Error `invalid-argument`, `invalid-checkpoint`, `unsupported-checkpoint`, `io`, `out-of-memory`,
 *   `unavailable` or `aborted`; nothing is left behind.
 */
export async function loadModel(path: string, options: LoadOptions = {}): Promise<Model> {
  const addon = loadAddon();
  const checked = checkLoadOptions(options, toDevices(addon.backends()));
  const { onProgress, signal } = checked;
  const checkpoint = await openCheckpoint(path, { onProgress, signal });
  const contextTokens = checked.contextTokens ?? defaultContext(checkpoint.config.max_position_embeddings);
  const forecast = forecastOf(checkpoint, checked, contextTokens);
  const { expertMemoryBytes, expertCopyBytes } = forecast;
  const engineOptions = { ...checked.engine, contextTokens, expertMemoryBytes, expertCopyBytes };
  if (!forecast.runs) throw cannotFit(forecast, contextTokens);
  const text = await readModelText(checkpoint, checked);
  if (signal?.aborted) throw aborted(signal);
  let engine: NativeEngine;
  try {
    engine = addon.createEngine(checkpoint.spec, checkpoint.weightTable, engineOptions);
  } catch (error) {
    throw toK2Error(error);
  }
  await loadEngine(engine, checked);
  return new Model(checkpoint, text, engine, { ...engineOptions, memory: forecast });
}

/** What the machine has to compute with, best first. */
export function listDevices(): Device[] {
  return toDevices(loadAddon().backends());
}

/**
 * How much memory a model will take, without loading it. `options` as for `loadModel`.
 * @param model The folder, or the checkpoint that `openCheckpoint` gave: further forecasts then take no time.
 * @throws what `loadModel` throws for a folder that cannot be opened or options that are wrong.
 */
export async function forecastModel(
  model: string | Checkpoint,
  options: LoadOptions = {},
): Promise<MemoryForecast> {
  const checked = checkLoadOptions(options, listDevices());
  const { onProgress, signal } = checked;
  const checkpoint = isCheckpoint(model) ? model : await openCheckpoint(model, { onProgress, signal });
  const contextTokens = checked.contextTokens ?? defaultContext(checkpoint.config.max_position_embeddings);
  return forecastOf(checkpoint, checked, contextTokens);
}

function isCheckpoint(model: string | Checkpoint): model is Checkpoint {
  return typeof model === "object" && model !== null && "weightTable" in model;
}

/** Options of `model.warm`. */
export type WarmOptions = Pick<RenderOptions, "tools" | "thinking"> & CallOptions;

interface ModelFacts {
  device: string;
  threads: number;
  contextTokens: number;
  memory: MemoryForecast;
  prefixCacheDirectory: string;
}

/** A loaded model, shared by all its sessions and chats. Made by `loadModel`. */
export class Model {
  /** Absolute path of the folder. */
  readonly path: string;
  /** config.json with its field names, defaults filled in. */
  readonly config: ModelConfig;
  readonly device: string;
  readonly threads: number;
  /** Most tokens of one session. */
  readonly contextTokens: number;
  /** Token ids that end an answer. */
  readonly stopTokens: readonly number[];
  readonly memory: MemoryForecast;
  /** @internal */
  readonly text: ModelText;
  private readonly engine: NativeEngine;
  private readonly grammars: Grammars;
  /** Whether one session's pages are there for others. */
  private readonly keepsPrefixes: boolean;
  private isDisposed = false;

  /** @internal Made by `loadModel`. */
  constructor(checkpoint: Checkpoint, text: ModelText, engine: NativeEngine, facts: ModelFacts) {
    this.path = checkpoint.path;
    this.config = checkpoint.config;
    this.device = facts.device;
    this.threads = facts.threads;
    this.contextTokens = facts.contextTokens;
    this.memory = facts.memory;
    this.stopTokens = text.stopTokens;
    this.text = text;
    this.engine = engine;
    this.grammars = new Grammars(engine, async () => this.tokenizer.tokenTable());
    this.keepsPrefixes = facts.memory.prefixCacheBytes > 0 || facts.prefixCacheDirectory !== "";
  }

  /** How routed experts came from disk since loading; undefined where they are mapped (`expertMemory` of `loadModel`). */
  get expertReads(): ExpertReads | undefined {
    if (this.memory.expertMemoryBytes === 0) return undefined;
    return toExpertReads(this.engine.expertReads());
  }

  /** @throws K2Error `missing-tokenizer` naming the file that the checkpoint lacks. */
  get tokenizer(): Tokenizer {
    return this.text.tokenizer();
  }

  /**
   * An empty timeline. Sessions of one model may run at the same time; their steps are joined.
   * @throws K2Error `invalid-argument` for wrong options, or `trace` with a model that has no routed experts;
   *   `invalid-state` for a disposed model.
   */
  createSession(options: SessionOptions = {}): Session {
    const { trace } = checkSessionOptions(options);
    return new Session(this.createNativeSession(trace), this.sessionFacts(trace));
  }

  /**
   * The session that `session.save` or `chat.save` wrote, by this process or another: it goes on with the very bits that it
   * would have gone on with. Threads, batches and the context may be others than they were. The file is believed in nothing
   * until all of it has been checked; no other session gets to see what came from it. With `trace`, routing is known from
   * here on.
   * @throws K2Error `io` for a file that cannot be read, `damaged-file` for one that is cut off or altered,
   *   `incompatible-file` for one of another checkpoint, device or format version, `context-full`, `out-of-memory`,
   *   `aborted`. Nothing is left behind.
   */
  async restoreSession(path: string, options: SessionOptions & CallOptions = {}): Promise<Session> {
    const { file, trace, signal } = checkRestore(path, options);
    const native = this.createNativeSession(trace);
    const { session } = await restoreSession(native, this.sessionFacts(trace), file, signal);
    return session;
  }

  /**
   * The ids of a whole prompt: the conversation in the layout of this model, ending where the model continues.
   * @throws K2Error `invalid-argument` naming the wrong field; `missing-tokenizer`; `unsupported-checkpoint` for a
   *   layout that this build does not know.
   */
  renderPrompt(messages: readonly Message[], options: RenderOptions = {}): Int32Array {
    return renderPrompt(this.text.template(), this.tokenizer, messages, options);
  }

  /** A conversation with this model. Throws what `renderPrompt` throws. */
  createChat(options: ChatOptions = {}): Chat {
    return new Chat(createChatEngine(this), options);
  }

  /**
   * The chat that `chat.save` wrote, with its messages and tools. Options of answers and `execute` of the tools are not in
   * the file and are given again.
   * @throws K2Error what `restoreSession` and `createChat` throw; `incompatible-file` for a session that was saved without
   *   a chat; `invalid-argument` for tools with other definitions than the saved ones.
   */
  async restoreChat(path: string, options: RestoreChatOptions = {}): Promise<Chat> {
    const trace = options?.trace === true;
    return restoreChat(createChatEngine(this), path, options, (file, signal) =>
      restoreSession(this.createNativeSession(trace), this.sessionFacts(trace), file, signal),
    );
  }

  /**
   * Computes the beginning that prompts with this system prompt and these tools share, so that the first answer of a chat
   * need not: whole pages of it stay in the prefix cache as long as there is room. `tools` as for a chat; `messages` may be
   * a whole conversation to go on with.
   * @throws K2Error `invalid-state` for a model that was loaded without `prefixCacheBytes` and `prefixCacheDirectory`; what `renderPrompt` and
   *   `session.prefill` throw.
   */
  async warm(messages: readonly Message[], options: WarmOptions = {}): Promise<void> {
    if (!this.keepsPrefixes) {
      throw new K2Error(
        "invalid-state",
        "Expected a model with prefixCacheBytes or prefixCacheDirectory for warm, got one without",
      );
    }
    const { signal: given, ...render } = requireObject(options, "options");
    const signal = checkSignal(given);
    const ids = this.renderPrompt(messages, { ...(render as RenderOptions), addGenerationPrompt: false });
    await using session = this.createSession();
    await session.prefill(ids, signal === undefined ? {} : { signal });
  }

  /**
   * Ends every call that runs (they reject with `invalid-state`), writes what is on its way to `prefixCacheDirectory`, and
   * unmaps the weights. May be called again.
   */
  async dispose(): Promise<void> {
    this.isDisposed = true;
    await settle(this.engine.dispose());
  }

  /** For `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose();
  }

  private sessionFacts(trace: boolean): SessionFacts {
    const { contextTokens, stopTokens, grammars } = this;
    const facts = { vocabSize: this.config.vocab_size, contextTokens, stopTokens, grammars };
    return trace ? { ...facts, routing: routingShape(this.config) } : facts;
  }

  private createNativeSession(trace: boolean): NativeSession {
    if (this.isDisposed) throw new K2Error("invalid-state", "Expected a live model, got a disposed one");
    try {
      return this.engine.createSession(trace);
    } catch (error) {
      throw toK2Error(error);
    }
  }
}

function routingShape(config: ModelConfig): RoutingShape {
  const { num_hidden_layers, first_k_dense_replace, moe_layer_freq } = config;
  const layers = Array.from({ length: num_hidden_layers }, (_, layer) => layer);
  return {
    layers: layers.filter((layer) => isMoeLayer(layer, first_k_dense_replace, moe_layer_freq)),
    expertCount: config.n_routed_experts,
    expertsPerToken: config.num_experts_per_tok,
  };
}

function forecastOf(
  checkpoint: Checkpoint,
  { engine, expertMemory, expertCopyBytes }: CheckedLoadOptions,
  contextTokens: number,
): MemoryForecast {
  try {
    const noExperts = { expertMemoryBytes: 0, expertCopyBytes: 0 };
    const plan = loadAddon().planMemory(checkpoint.spec, { ...engine, contextTokens, ...noExperts });
    const options = { ...engine, contextTokens, expertMemory, expertCopyBytes };
    return forecastMemory(checkpoint.weightBytes, expertSizesOf(checkpoint), plan, options);
  } catch (error) {
    throw toK2Error(error);
  }
}

function cannotFit(forecast: MemoryForecast, contextTokens: number): K2Error {
  const { cacheBytes, prefixCacheBytes, expertMemoryBytes, scratchBytes, memoryBytes } = forecast;
  const needed = cacheBytes + prefixCacheBytes + expertMemoryBytes + scratchBytes;
  return new K2Error(
    "out-of-memory",
    `Expected a context whose cache, prefix cache, experts and scratch fit in ${memoryBytes} bytes of memory for contextTokens, ` +
      `got ${contextTokens} (with prefixCacheBytes ${prefixCacheBytes} and expertMemory ${expertMemoryBytes}), which needs ${needed}`,
    {
      option: "contextTokens",
      contextTokens,
      prefixCacheBytes,
      expertMemoryBytes,
      neededBytes: needed,
      memoryBytes,
    },
  );
}

/** Runs the native part of loading. Whatever fails, the engine is gone afterwards. */
async function loadEngine(engine: NativeEngine, { onProgress, signal }: CheckedLoadOptions): Promise<void> {
  let failure: unknown;
  const report = (bytes: number, total: number) => {
    try {
      onProgress?.({ phase: "map", bytes, total });
    } catch (error) {
      failure ??= error;
      engine.abortLoad();
    }
  };
  const abort = () => engine.abortLoad();
  signal?.addEventListener("abort", abort);
  try {
    await settle(engine.load(onProgress && ((_phase, bytes, total) => report(bytes, total))));
    if (failure !== undefined) throw failure;
    if (signal?.aborted) throw aborted(signal);
  } catch (error) {
    await engine.dispose();
    if (failure !== undefined) throw failure;
    throw signal?.aborted ? aborted(signal) : error;
  } finally {
    signal?.removeEventListener("abort", abort);
  }
}
