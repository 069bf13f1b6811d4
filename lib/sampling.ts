// How a token is chosen from the logits: the options, their checks, and their native form.
// Order of the steps: penalties, bias and mask; temperature; top-k; top-p; min-p; one draw.

import type { NativeSampling } from "./addon/contract";
import { invalidArgument, refuseUnknownKeys, requireObject, typeOf } from "./check";
import type { K2Error } from "./errors";

/** Bit `id & 31` of word `id >> 5` allows the token `id`. Made by `createTokenMask`. */
export type TokenMask = Uint32Array;

/** How a token is chosen from the logits. */
export interface SamplingOptions {
  /** 0..100. 0 takes the most likely token (the lowest id on ties). Default 1, in a chat the model's own. */
  temperature?: number;
  /** Only the so many most likely tokens; 0 (default): all. */
  topK?: number;
  /** The smallest set of most likely tokens whose probabilities reach this; above 0, at most 1 (default). */
  topP?: number;
  /** Least probability relative to the most likely token; 0 (default) .. 1. */
  minP?: number;
  /** Divides positive logits of tokens that occurred and multiplies negative ones; above 0, default 1. */
  repetitionPenalty?: number;
  /** Subtracted once from the logit of a token that occurred; -100..100, default 0. */
  presencePenalty?: number;
  /** Subtracted for each occurrence; -100..100, default 0. */
  frequencyPenalty?: number;
  /** How many of the latest tokens of the timeline the penalties see; 0 (default): all. */
  penaltyTokens?: number;
  /** Integer of 0..2^53-1. The same seed draws the same tokens whatever else runs. Default: random. */
  seed?: number;
  /** Added to the logits of the tokens with these ids. */
  logitBias?: Readonly<Record<number, number>>;
  /** Whether each token carries its `logprob`: that of the model itself, before any of these options. */
  logprobs?: boolean;
  /** How many of the most likely tokens are listed with each token; 0 (default) .. 100. */
  topLogprobs?: number;
  /** The tokens that may be sampled. */
  mask?: TokenMask;
}

/** One sampled token. */
export interface SampledToken {
  id: number;
  /** Natural logarithm of the model's probability of this token, where `logprobs` or `topLogprobs` asked for it. */
  logprob?: number;
  /** The most likely tokens, best first, as many as `topLogprobs` asked for. */
  topLogprobs?: { id: number; logprob: number }[];
}

/** Why no more tokens come. */
export type TokenEnd =
  /** A stop token was sampled; it is the last token delivered. */
  | "stop"
  /** `maxTokens` were delivered. */
  | "max-tokens"
  /** The session has no room for another one. */
  | "context-full"
  /** The signal fired. */
  | "aborted";

/** What ends a decode. */
export interface DecodeLimits {
  /** Default: what is left of the context. */
  maxTokens?: number;
  /** Token ids that end the decode; the stop token is the last one delivered. Default: those of the model. */
  stopTokens?: readonly number[];
}

export const SAMPLING_KEYS: ReadonlySet<string> = new Set<keyof SamplingOptions>([
  "temperature",
  "topK",
  "topP",
  "minP",
  "repetitionPenalty",
  "presencePenalty",
  "frequencyPenalty",
  "penaltyTokens",
  "seed",
  "logitBias",
  "logprobs",
  "topLogprobs",
  "mask",
]);

const MOST_ALTERNATIVES = 100;
const MOST_TOKENS = 0x7fffffff;

/**
 * A mask that allows exactly `ids`.
 * @param vocabSize That of the model, `model.config.vocab_size`.
 * @throws K2Error `invalid-argument`
 */
export function createTokenMask(vocabSize: number, ids: Iterable<number>): TokenMask {
  if (!Number.isInteger(vocabSize) || vocabSize < 1 || vocabSize > MOST_TOKENS) {
    throw invalidArgument(`an integer of 1..${MOST_TOKENS}`, "vocabSize", vocabSize);
  }
  if (typeof ids?.[Symbol.iterator] !== "function") throw invalidArgument("an iterable", "ids", ids);
  const mask = new Uint32Array(Math.ceil(vocabSize / 32));
  for (const id of ids) {
    checkTokenId(id, vocabSize, "ids");
    mask[id >> 5]! |= 1 << (id & 31);
  }
  return mask;
}

/** Checks sampling options; unknown keys are errors. */
export function checkSampling(value: unknown, vocabSize: number, name = "options"): SamplingOptions {
  const options = requireObject(value, name);
  refuseUnknownKeys(options, SAMPLING_KEYS, name);
  const number = (key: keyof SamplingOptions, expected: string, isGood: (value: number) => boolean) => {
    const got = options[key];
    if (got !== undefined && !(typeof got === "number" && isGood(got)))
      throw invalidArgument(expected, key, got);
  };
  const integer = (key: keyof SamplingOptions, most: number) =>
    number(key, `an integer of 0..${most}`, (n) => Number.isInteger(n) && n >= 0 && n <= most);
  number("temperature", "a number of 0..100", (n) => n >= 0 && n <= 100);
  integer("topK", 0x7fffffff);
  number("topP", "a number above 0, at most 1", (n) => n > 0 && n <= 1);
  number("minP", "a number of 0..1", (n) => n >= 0 && n <= 1);
  number("repetitionPenalty", "a number above 0, at most 100", (n) => n > 0 && n <= 100);
  number("presencePenalty", "a number of -100..100", (n) => Math.abs(n) <= 100);
  number("frequencyPenalty", "a number of -100..100", (n) => Math.abs(n) <= 100);
  integer("penaltyTokens", 0x7fffffff);
  integer("seed", Number.MAX_SAFE_INTEGER);
  integer("topLogprobs", Math.min(MOST_ALTERNATIVES, vocabSize));
  if (options.logprobs !== undefined && typeof options.logprobs !== "boolean") {
    throw invalidArgument("a boolean", "logprobs", options.logprobs);
  }
  if (options.logitBias !== undefined) checkBias(options.logitBias, vocabSize);
  if (options.mask !== undefined) checkMask(options.mask, vocabSize);
  return options as SamplingOptions;
}

function checkBias(value: unknown, vocabSize: number): void {
  for (const [key, bias] of Object.entries(requireObject(value, "logitBias"))) {
    checkTokenId(/^(0|[1-9]\d*)$/.test(key) ? Number(key) : key, vocabSize, "logitBias");
    if (typeof bias !== "number" || !Number.isFinite(Math.fround(bias))) {
      throw invalidArgument("a finite number", `logitBias[${key}]`, bias);
    }
  }
}

function checkMask(value: unknown, vocabSize: number): void {
  const words = Math.ceil(vocabSize / 32);
  if (!(value instanceof Uint32Array) || value.length !== words) {
    throw invalidArgument(`a Uint32Array of ${words} words (${vocabSize} bits)`, "mask", value);
  }
  const spare = words * 32 - vocabSize;
  const isEmpty = value.every((word, i) => (i === words - 1 ? word << spare : word) === 0);
  if (isEmpty) throw invalidArgument("at least one allowed token", "mask", 0);
}

function isTokenId(id: unknown, vocabSize: number): id is number {
  return typeof id === "number" && Number.isInteger(id) && id >= 0 && id < vocabSize;
}

/** An id of the vocabulary, or an error that names `name`. */
export function checkTokenId(id: unknown, vocabSize: number, name: string): number {
  if (!isTokenId(id, vocabSize)) throw wrongTokenId(id, vocabSize, name);
  return id;
}

function wrongTokenId(id: unknown, vocabSize: number, name: string): K2Error {
  return invalidArgument(`token ids of 0..${vocabSize - 1}`, name, id);
}

function isList(value: unknown): value is ArrayLike<unknown> {
  if (typeof value !== "object" || value === null) return false;
  return typeOf(value) === "Array" || (ArrayBuffer.isView(value) && !(value instanceof DataView));
}

/** Ids as native code takes them: a copy, every one checked. */
export function toTokenIds(ids: unknown, vocabSize: number, name: string): Int32Array {
  if (!isList(ids)) throw invalidArgument("an Int32Array or an array of token ids", name, ids);
  const result = new Int32Array(ids.length);
  for (let i = 0; i < ids.length; i += 1) {
    const id = ids[i];
    if (!isTokenId(id, vocabSize)) throw wrongTokenId(id, vocabSize, `${name}[${i}]`);
    result[i] = id;
  }
  return result;
}

/** Checked options with their defaults, as native code takes them. */
export function toNativeSampling(
  options: SamplingOptions,
  limits: { maxTokens: number; stopTokens: Int32Array },
): NativeSampling {
  const seed = options.seed ?? Math.floor(Math.random() * Number.MAX_SAFE_INTEGER);
  const bias = Object.entries(options.logitBias ?? {});
  return {
    maxTokens: limits.maxTokens,
    temperature: options.temperature ?? 1,
    topK: options.topK ?? 0,
    topP: options.topP ?? 1,
    minP: options.minP ?? 0,
    repetitionPenalty: options.repetitionPenalty ?? 1,
    presencePenalty: options.presencePenalty ?? 0,
    frequencyPenalty: options.frequencyPenalty ?? 0,
    penaltyTokens: options.penaltyTokens ?? 0,
    seedLow: seed % 0x1_0000_0000,
    seedHigh: Math.floor(seed / 0x1_0000_0000),
    topLogprobs: options.topLogprobs ?? 0,
    logprobs: options.logprobs ? 1 : 0,
    stopTokens: limits.stopTokens,
    biasIds: Int32Array.from(bias, ([id]) => Number(id)),
    biasValues: Float32Array.from(bias, ([, value]) => value),
    // Copied: the caller may change or detach it before the decode begins.
    mask: options.mask?.slice(),
  };
}
