// The flags of all commands, as data: what is parsed, checked and described comes from these tables. Ranges are those
// of the library, which checks them again; a wrong flag is refused before a model is loaded.

import type { LoadOptions, SamplingOptions, SendOptions } from "../index";

export interface Flag {
  /** Without the dashes. */
  readonly name: string;
  readonly short?: string;
  /** A switch has no value. */
  readonly kind: "switch" | "text" | "integer" | "number";
  /** What the help calls the value. */
  readonly value?: string;
  readonly help: string;
  /** The only values of a text; words that may stand for a number. */
  readonly choices?: readonly string[];
  /** Both ends belong to the range. */
  readonly range?: readonly [least: number, most: number];
  /** Whether it may be given several times; its values are then a list. */
  readonly isList?: boolean;
  /** The option of the library that its value becomes. */
  readonly option?: keyof LoadOptions | keyof SamplingOptions | keyof SendOptions;
}

export interface FlagGroup {
  readonly title: string;
  readonly flags: readonly Flag[];
}

const MOST_INTEGER = Number.MAX_SAFE_INTEGER;
const MOST_TOKENS = 2 ** 24;

/** Become options of `loadModel`. */
export const MODEL_FLAGS: FlagGroup = {
  title: "Model",
  flags: [
    {
      name: "context",
      kind: "integer",
      value: "TOKENS",
      range: [1, MOST_TOKENS],
      option: "contextTokens",
      help: "longest conversation, prompt and answers together (default: the model's limit, at most 32768)",
    },
    {
      name: "device",
      kind: "text",
      value: "NAME",
      choices: ["auto", "cpu", "cuda", "metal", "reference"],
      option: "device",
      help: "auto, cpu, cuda or metal (see docs/cuda.md, docs/metal.md), or reference, which is slow and exact (default: auto)",
    },
    {
      name: "threads",
      kind: "integer",
      value: "COUNT",
      range: [1, 1024],
      option: "threads",
      help: "threads that compute (default: all cores); does not change any result",
    },
    {
      name: "chat-template",
      kind: "text",
      value: "NAME",
      option: "chatTemplate",
      help: "chat layout: kimi-k2-instruct, kimi-k2-thinking, kimi-k2.5, moonlight, jinja, ... (default: auto, what the checkpoint says)",
    },
    {
      name: "attention",
      kind: "text",
      value: "FORM",
      choices: ["auto", "absorbed", "expanded"],
      option: "attention",
      help: "auto, or always absorbed or expanded (default: auto)",
    },
    {
      name: "cache-type",
      kind: "text",
      value: "TYPE",
      choices: ["bf16", "int8"],
      option: "cacheType",
      help: "what the cache keeps: bf16, or int8, which takes 0.6 of the memory and changes logits a little (default: bf16)",
    },
    {
      name: "isa",
      kind: "text",
      value: "NAME",
      option: "isa",
      help: "force a set of CPU kernels; k2 inspect lists those of this machine",
    },
    {
      name: "activations",
      kind: "text",
      value: "BITS",
      choices: ["16-bit", "int8"],
      option: "activations",
      help: "what inputs of INT4 weights are rounded to; int8 makes long prompts faster and less exact (default: 16-bit)",
    },
    {
      name: "batch-tokens",
      kind: "integer",
      value: "TOKENS",
      range: [1, 65_536],
      option: "batchTokens",
      help: "most tokens of one forward step (default: 512); does not change any result",
    },
    {
      name: "speculation",
      kind: "text",
      value: "WHEN",
      choices: ["auto", "off"],
      option: "speculation",
      help: "guess tokens from earlier text where that is measured to be faster, or never (default: auto)",
    },
    {
      name: "expert-memory",
      kind: "integer",
      value: "BYTES",
      choices: ["auto", "mapped"],
      range: [1, MOST_INTEGER],
      option: "expertMemory",
      help: "read routed experts from disk as they are needed, into so much memory; mapped: leave them to the page cache (default: auto, mapped where the model fits)",
    },
    {
      name: "expert-copies",
      kind: "integer",
      value: "BYTES",
      choices: ["auto"],
      range: [0, MOST_INTEGER],
      option: "expertCopyBytes",
      help: "most memory for copies of INT4 experts in a form that is read faster; 0: none (default: auto, half of what is free)",
    },
  ],
};

/** Become options of an answer. */
export const ANSWER_FLAGS: FlagGroup = {
  title: "Answer",
  flags: [
    {
      name: "max-tokens",
      kind: "integer",
      value: "TOKENS",
      range: [1, MOST_INTEGER],
      option: "maxTokens",
      help: "end an answer after so many tokens, thinking included (default: what the context holds)",
    },
    {
      name: "no-thinking",
      kind: "switch",
      help: "ask a thinking model to answer at once",
    },
    {
      name: "stop",
      kind: "text",
      value: "TEXT",
      isList: true,
      option: "stop",
      help: "end an answer where this text would come; may be given several times",
    },
    {
      name: "system",
      kind: "text",
      value: "TEXT",
      help: "system prompt, instead of the model's own",
    },
    {
      name: "tools",
      kind: "text",
      value: "FILE",
      help: "JSON file with an array of tool definitions in the shape of the OpenAI API",
    },
    {
      name: "schema",
      kind: "text",
      value: "FILE",
      help: "JSON file with a JSON Schema: an answer is JSON that is valid under it, or calls",
    },
  ],
};

/** Become options of an answer. */
export const SAMPLING_FLAGS: FlagGroup = {
  title: "Sampling",
  flags: [
    {
      name: "temperature",
      kind: "number",
      value: "T",
      range: [0, 100],
      option: "temperature",
      help: "0 always takes the most likely token (default: the model's own)",
    },
    {
      name: "top-k",
      kind: "integer",
      value: "COUNT",
      range: [0, 0x7fffffff],
      option: "topK",
      help: "only the so many most likely tokens (default: 0, all)",
    },
    {
      name: "top-p",
      kind: "number",
      value: "P",
      range: [Number.MIN_VALUE, 1],
      option: "topP",
      help: "only the most likely tokens that together reach this probability (default: 1, or the model's own)",
    },
    {
      name: "min-p",
      kind: "number",
      value: "P",
      range: [0, 1],
      option: "minP",
      help: "only tokens at least so likely relative to the most likely one (default: 0)",
    },
    {
      name: "repetition-penalty",
      kind: "number",
      value: "X",
      range: [Number.MIN_VALUE, 100],
      option: "repetitionPenalty",
      help: "make tokens that occurred less likely by this factor (default: 1)",
    },
    {
      name: "presence-penalty",
      kind: "number",
      value: "X",
      range: [-100, 100],
      option: "presencePenalty",
      help: "subtract this from the logits of tokens that occurred (default: 0)",
    },
    {
      name: "frequency-penalty",
      kind: "number",
      value: "X",
      range: [-100, 100],
      option: "frequencyPenalty",
      help: "the same, for each time that they occurred (default: 0)",
    },
    {
      name: "seed",
      kind: "integer",
      value: "N",
      range: [0, MOST_INTEGER],
      option: "seed",
      help: "the same seed draws the same tokens (default: random)",
    },
  ],
};

export const QUIET_FLAG: Flag = {
  name: "quiet",
  short: "q",
  kind: "switch",
  help: "the answer alone: no thinking, no progress, no rates",
};
export const HELP_FLAG: Flag = { name: "help", short: "h", kind: "switch", help: "show this help" };
