// The types of everything that crosses between TypeScript and the addon. Native code receives numbers:
// a resolved specification, file paths, and one row of numbers per weight. It never parses text.

/** What a row of the weight table holds, in `native/model/weights.h` order. */
export enum WeightSlot {
  Embed = 0,
  FinalNorm = 1,
  Head = 2,
  InputNorm = 3,
  PostAttentionNorm = 4,
  Q = 5,
  QA = 6,
  QANorm = 7,
  QB = 8,
  KvA = 9,
  KvANorm = 10,
  KvB = 11,
  O = 12,
  DenseGate = 13,
  DenseUp = 14,
  DenseDown = 15,
  Router = 16,
  RouterBias = 17,
  SharedGate = 18,
  SharedUp = 19,
  SharedDown = 20,
  ExpertGate = 21,
  ExpertUp = 22,
  ExpertDown = 23,
}

/** How the numbers of a weight are stored, in `native/base/dtype.h` order. */
export enum Storage {
  Bf16 = 0,
  F16 = 1,
  F32 = 2,
  /** F8_E4M3 with a scale per block of `blockRows` x `blockColumns`; w = value * scale. */
  F8E4m3 = 3,
  /** Offset-binary nibbles, low nibble first; w = (nibble - 8) * scale of its group of `blockColumns`. */
  Int4 = 4,
}

/** Columns of the weight table: `weights[row * WEIGHT_FIELDS + WeightField.X]`. Absent values are -1. */
export enum WeightField {
  Slot = 0,
  Layer = 1,
  Expert = 2,
  Storage = 3,
  Rows = 4,
  Columns = 5,
  /** Index into the list of files. */
  File = 6,
  /** Absolute position of the first byte in the file. */
  Offset = 7,
  Bytes = 8,
  ScaleFile = 9,
  ScaleOffset = 10,
  ScaleBytes = 11,
  ScaleStorage = 12,
  BlockRows = 13,
  BlockColumns = 14,
}
export const WEIGHT_FIELDS = 15;

/** The model's dimensions and constants, all from config.json. Field names in native: `model/spec.h`. */
export interface ModelSpec {
  hiddenSize: number;
  layers: number;
  heads: number;
  /** 0 when the query is projected directly (`q_lora_rank` null). */
  qRank: number;
  kvRank: number;
  nopeDim: number;
  ropeDim: number;
  valueDim: number;
  vocabSize: number;
  denseWidth: number;
  expertWidth: number;
  /** 0 for a dense model. */
  experts: number;
  expertsPerToken: number;
  sharedExperts: number;
  firstDenseLayers: number;
  moeLayerFrequency: number;
  /** 0 sigmoid, 1 softmax. */
  scoring: 0 | 1;
  /** 0 noaux_tc, 1 greedy, 2 group_limited_greedy. */
  routing: 0 | 1 | 2;
  groups: number;
  topGroups: number;
  /** 1 when the chosen weights are normalised to sum 1 before scaling. */
  normalizeTopK: 0 | 1;
  routedScaling: number;
  normEps: number;
  /** eps of q_a_layernorm and kv_a_layernorm: 1e-6 in the reference implementation whatever the config says. */
  latentNormEps: number;
  ropeTheta: number;
  /** YaRN factor; 0 when the config has no rope scaling. */
  yarnFactor: number;
  yarnBetaFast: number;
  yarnBetaSlow: number;
  yarnMscale: number;
  yarnMscaleAllDim: number;
  yarnOriginalPositions: number;
}

/** Everything native code needs to open a checkpoint. */
export interface WeightTable {
  /** Absolute paths of the shards. */
  files: string[];
  /** `WEIGHT_FIELDS` numbers per weight. */
  rows: Float64Array;
}

export interface EngineOptions {
  /** "cpu", "cuda", "metal" or "reference"; "auto" was resolved before. */
  device: string;
  threads: number;
  contextTokens: number;
  /** Forces a kernel set by name (those of `native/cpu/isa.h`); "" lets the CPU decide. */
  isa: string;
  /** What inputs of INT4 weights are rounded to: 0 16 bits, 1 int8 (not with the reference backend). */
  activations: 0 | 1;
  /** 0 auto (by the length of a call and of its context), 1 absorbed, 2 expanded. */
  attention: 0 | 1 | 2;
  /** Cached latents in 0 bf16, 1 int8. */
  cacheType: 0 | 1;
  /** Most tokens of one forward step; longer prefills are cut. Does not change any bit of the results. */
  batchTokens: number;
  /** Most memory of the prefix cache; 0 switches it off. Does not change any bit of the results. */
  prefixCacheBytes: number;
  /** Absolute path of the directory that holds pages beyond the process; "" without one. */
  prefixCacheDirectory: string;
  /** Most bytes of the files in it. */
  prefixCacheDirectoryBytes: number;
  /** 0 auto (where measured times promise a gain), 1 off. Does not change any bit of the results. */
  speculation: 0 | 1;
  /** Memory for routed experts that are read from disk as they are needed; 0: they are mapped. Changes no bit of the results. */
  expertMemoryBytes: number;
  /** Most memory for copies of mapped routed experts. */
  expertCopyBytes: number;
}

export interface NativeSampling {
  maxTokens: number;
  temperature: number;
  topK: number;
  topP: number;
  minP: number;
  repetitionPenalty: number;
  presencePenalty: number;
  frequencyPenalty: number;
  /** How many of the latest tokens the penalties look at; 0 = all. */
  penaltyTokens: number;
  seedLow: number;
  seedHigh: number;
  /** Alternatives reported with each token; 0 none. */
  topLogprobs: number;
  /** 1 when `logprob` is wanted. */
  logprobs: 0 | 1;
  stopTokens: Int32Array;
  biasIds: Int32Array;
  biasValues: Float32Array;
  /** Bitset of allowed tokens for every step (bit i of word i >> 5), or undefined. */
  mask: Uint32Array | undefined;
}

/** Why native decoding ended, in `native/engine/session.h` order. */
export enum DecodeEnd {
  Running = 0,
  /** A stop token was sampled; it is the last token delivered. */
  Stop = 1,
  /** `maxTokens` were delivered. */
  MaxTokens = 2,
  /** The session is full. */
  ContextFull = 3,
  Aborted = 4,
}

/** Tokens since the last delivery. `top*` hold `topLogprobs` entries per token. */
export interface NativeTokens {
  ids: Int32Array;
  logprobs: Float32Array;
  topIds: Int32Array;
  topLogprobs: Float32Array;
  end: DecodeEnd;
}

/** A compiled grammar in flat numbers; `Opcode` of lib/grammar/program.ts says what they mean. */
export interface NativeGrammarSource {
  code: Float64Array;
  nodes: Uint32Array;
  rules: Uint32Array;
  heights: Uint32Array;
  pool: Uint8Array;
  imports: NativeGrammar[];
}

/** A grammar that native code has read and checked. Immutable; of use to every engine with the same vocabulary size. */
export interface NativeGrammar {
  /** Memory that it takes. */
  readonly bytes: number;
}

export interface NativeTimings {
  /** Nanoseconds of forward passes, and tokens that went through them. */
  prefillNs: number;
  prefillTokens: number;
  decodeNs: number;
  decodeTokens: number;
  /** Rows of guessed tokens that decoding computed, and those of them that were right. */
  draftedTokens: number;
  acceptedTokens: number;
}

/** What the router chose for T tokens: [T, layers with experts, K] numbers, and for each token whether they are known. */
export interface NativeRouting {
  experts: Uint16Array;
  weights: Float32Array;
  isKnown: Uint8Array;
}

/** How routed experts came into their memory, since loading; all 0 where they are mapped. */
export interface NativeExpertReads {
  /** Uses of an expert that was in memory, or on its way as a guess; and uses that had to be read. */
  hits: number;
  misses: number;
  /** Experts read ahead; those of them that were needed next, and those that gave their place away unused. */
  guesses: number;
  usedGuesses: number;
  wastedGuesses: number;
  readBytes: number;
  /** Time during which at least one read was under way. */
  readNs: number;
  /** How often a layer had nothing to compute for want of an expert, and for how long. */
  waits: number;
  waitNs: number;
  /** Taken for experts. */
  memoryBytes: number;
}

/** What a file of a session holds, beside what the engine took. */
export interface NativeRestored {
  ids: Int32Array;
  note: string;
}

/** Failed native promises reject with an Error that carries `code` (K2ErrorCode) and `details`. */
export interface NativeSession {
  readonly position: number;
  /** Resolves with the number of `ids` that the prefix cache held. */
  prefill(ids: Int32Array): Promise<number>;
  /** Writes [T, V] logits into `logits`, which stays untouched by JavaScript until the promise settles. */
  evaluate(ids: Int32Array, logits: Float32Array): Promise<void>;
  fork(): Promise<NativeSession>;
  rewind(position: number): Promise<void>;
  /** Fills the arrays, which say how many positions are meant; they stay untouched until the promise settles. */
  routing(
    firstPosition: number,
    experts: NativeRouting["experts"],
    weights: NativeRouting["weights"],
    isKnown: NativeRouting["isKnown"],
  ): Promise<void>;
  /** Starts decoding; tokens are buffered (bounded, the engine waits) and taken by `take`. */
  startDecode(sampling: NativeSampling): void;
  /** Like `startDecode`, for texts of the grammar alone. `index` is where its running index begins. */
  startConstrainedDecode(sampling: NativeSampling, grammar: NativeGrammar, index: number): void;
  /** Resolves with at least one token, or none and an end. */
  take(): Promise<NativeTokens>;
  /**
   * Ends decoding. The timeline keeps `kept` of the tokens that this decode sampled; tokens sampled
   * ahead of the consumer are taken back.
   */
  stopDecode(kept: number): Promise<void>;
  /** Makes the running call reject with `aborted` before its next layer; the timeline returns to where it was. */
  abort(): void;
  timings(): NativeTimings;
  /** Replaces the file at an absolute path in one step. `note` is given back by `restore`. */
  save(path: string, note: string): Promise<void>;
  /** For an empty session, which stays empty when this rejects. */
  restore(path: string): Promise<NativeRestored>;
  dispose(): void;
}

export interface NativeEngine {
  /** Maps the files, checks every row against the specification and prepares the backend. */
  load(onProgress: ((phase: string, bytes: number, total: number) => void) | undefined): Promise<void>;
  abortLoad(): void;
  /** @param trace Whether the session keeps what `routing` reads. */
  createSession(trace: boolean): NativeSession;
  /** The ordinary tokens: token i has the bytes [offsets[i], offsets[i + 1]) of the pool. Once, before constrained decoding. */
  setVocabulary(pool: Uint8Array, offsets: Uint32Array): void;
  createGrammar(source: NativeGrammarSource): NativeGrammar;
  expertReads(): NativeExpertReads;
  /** Stops everything, settles every pending call with `invalid-state`, and unmaps. */
  dispose(): Promise<void>;
}

export interface NativeBackend {
  name: string;
  available: boolean;
  /** Why it is absent, or which kernel set it would use. */
  reason: string;
  kernels: string[];
}

export interface NativeMemoryPlan {
  /** Bytes of one cached token over all layers, in the backend's cache format. */
  cacheBytesPerToken: number;
  /** Cache memory is taken in pages of so many tokens. */
  pageTokens: number;
  /** Activations, logits and per-thread buffers. */
  scratchBytes: number;
}

/** Limits of the machine: rates by name in GB/s, GFLOP/s or GOP/s; names in `native/measure/machine.h`. */
export interface NativeMachine {
  /** Of the last level of cache; 0 where the system does not say. */
  cacheBytes: number;
  rates: Record<string, number>;
}

export interface NativeAddon {
  version: string;
  backends(): NativeBackend[];
  planMemory(spec: ModelSpec, options: EngineOptions): NativeMemoryPlan;
  /** Takes some seconds, on threads of its own. */
  measureMachine(threads: number): Promise<NativeMachine>;
  createEngine(spec: ModelSpec, table: WeightTable, options: EngineOptions): NativeEngine;
}
