// The text side of a model: tokenizer, chat layout, stop tokens. A checkpoint without tokenizer files loads too; then
// every text feature throws the error that names the missing file.

import { join } from "node:path";
import { requireString } from "../check";
import { readJsonFile, readSmallFile } from "../checkpoint/json-file";
import type { Checkpoint } from "../checkpoint/open-checkpoint";
import { K2Error } from "../errors";
import { checkSampling, type SamplingOptions } from "../sampling";
import type { ChatTemplate } from "../template/chat-template";
import { chooseTemplate } from "../template/choose-template";
import { Tokenizer } from "../tokenizer/tokenizer";
import { checkChatTemplate, type LoadOptions, type LoadProgress } from "./load-options";

/** Tokenizer, chat layout and stop tokens of a checkpoint. */
export interface ModelText {
  /** @throws K2Error `missing-tokenizer` */
  tokenizer(): Tokenizer;
  /** @throws K2Error `missing-tokenizer`; `unsupported-checkpoint` for a layout that this build does not know. */
  template(): ChatTemplate;
  /** The end-of-text ids of both config files and the tokenizer's end markers. */
  readonly stopTokens: readonly number[];
  /** Sampling options that generation_config.json names. */
  readonly samplingDefaults: SamplingOptions;
}

/**
 * Reads the tokenizer of a checkpoint's folder, without its weights. `config.json` says how many ids there are; where it
 * does not lie beside the tokenizer's files, `vocabSize` does.
 * @throws K2Error `missing-tokenizer`, `invalid-checkpoint`, `invalid-argument`, `io`
 */
export async function loadTokenizer(
  folder: string,
  options: { vocabSize?: number; signal?: AbortSignal } = {},
): Promise<Tokenizer> {
  const { vocabSize, signal } = options;
  return Tokenizer.load(folder, { vocabSize: vocabSize ?? (await readVocabSize(folder)), signal });
}

async function readVocabSize(folder: string): Promise<number> {
  const config = await readJsonFile({
    name: "config.json",
    path: join(requireString(folder, "folder"), "config.json"),
  });
  // Checkpoints with vision keep the config of their text part inside.
  const inner = config.text_config;
  const isNested = typeof inner === "object" && inner !== null && "vocab_size" in inner;
  const size = isNested ? inner.vocab_size : config.vocab_size;
  if (typeof size === "number") return size;
  throw new K2Error(
    "invalid-checkpoint",
    `Expected an integer for vocab_size in ${folder}/config.json, got none`,
    {
      file: join(folder, "config.json"),
    },
  );
}

/** Reads the text side of an opened checkpoint, without loading its weights. */
export async function readModelText(
  checkpoint: Checkpoint,
  options: {
    onProgress: ((progress: LoadProgress) => void) | undefined;
    signal: AbortSignal | undefined;
    chatTemplate?: LoadOptions["chatTemplate"] | undefined;
  },
): Promise<ModelText> {
  const family = checkChatTemplate(options.chatTemplate);
  options.onProgress?.({ phase: "tokenizer", bytes: 0, total: 1 });
  const { tokenizer, reason } = await Tokenizer.tryLoad(checkpoint.path, {
    vocabSize: checkpoint.config.vocab_size,
    signal: options.signal,
  });
  options.onProgress?.({ phase: "tokenizer", bytes: 1, total: 1 });
  // Without a tokenizer there is no layout to choose, and what these files say does not matter.
  const { chatTemplate, specialTokens } =
    tokenizer === undefined ? NO_TEMPLATE : await readTemplateFiles(checkpoint);
  const stopTokens = new Set([...checkpoint.eosTokenIds, ...(tokenizer?.special.stopIds ?? [])]);
  let template: ChatTemplate | undefined;
  const requireTokenizer = () => {
    if (tokenizer === undefined) throw reason;
    return tokenizer;
  };
  return {
    tokenizer: requireTokenizer,
    template() {
      if (template !== undefined) return template;
      const tokenizer = requireTokenizer();
      template = chooseTemplate({
        tokenizer,
        controlNames: tokenizer.special.declaredNames,
        specialTokens,
        chatTemplate,
        modelType: checkpoint.config.model_type,
        family,
      });
      return template;
    },
    stopTokens: [...stopTokens].sort((a, b) => a - b),
    samplingDefaults: samplingDefaultsOf(checkpoint),
  };
}

/** A value that no sampler could use is left to the model's own default, as a chat overrides it anyway. */
function samplingDefaultsOf({ generationConfig, config }: Checkpoint): SamplingOptions {
  const candidates = { temperature: generationConfig?.temperature, topP: generationConfig?.top_p };
  const defaults: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(candidates)) {
    if (typeof value !== "number") continue;
    try {
      Object.assign(defaults, checkSampling({ [key]: value }, config.vocab_size));
    } catch {
      // Out of range.
    }
  }
  return defaults;
}

/** What template texts know by name. */
const SPECIAL_TOKENS = ["bos_token", "eos_token", "pad_token", "unk_token"];

interface TemplateFiles {
  chatTemplate: string | undefined;
  specialTokens: Readonly<Record<string, string>>;
}
const NO_TEMPLATE: TemplateFiles = { chatTemplate: undefined, specialTokens: {} };

/** chat_template.jinja, or the `chat_template` that older checkpoints keep in tokenizer_config.json. */
async function readTemplateFiles({ textFiles }: Checkpoint): Promise<TemplateFiles> {
  const specialTokens: Record<string, string> = {};
  let chatTemplate: string | undefined;
  if (textFiles.tokenizerConfig !== null) {
    const config = await readJsonFile({ name: "tokenizer_config.json", path: textFiles.tokenizerConfig });
    if (typeof config.chat_template === "string") chatTemplate = config.chat_template;
    for (const name of SPECIAL_TOKENS) {
      const token = Object.hasOwn(config, name) ? config[name] : undefined;
      // Either the text, or a record that holds it.
      const text = typeof token === "object" && token !== null && "content" in token ? token.content : token;
      if (typeof text === "string") specialTokens[name] = text;
    }
  }
  if (textFiles.chatTemplate !== null) {
    const file = await readSmallFile({ name: "chat_template.jinja", path: textFiles.chatTemplate });
    chatTemplate = file.toString("utf8");
  }
  return { chatTemplate, specialTokens };
}
