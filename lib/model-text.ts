// The text side of a model: tokenizer, chat layout, stop tokens. A checkpoint without tokenizer files loads too; then
// every text feature throws the error that names the missing file.

import { readJsonFile, readSmallFile } from "./checkpoint/json-file";
import type { Checkpoint } from "./checkpoint/open-checkpoint";
import type { LoadProgress } from "./load-options";
import { checkSampling, type SamplingOptions } from "./sampling";
import type { ChatTemplate } from "./template/chat-template";
import { chooseTemplate } from "./template/choose-template";
import { Tokenizer } from "./tokenizer/tokenizer";

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

/** Reads the text side of an opened checkpoint, without loading its weights. */
export async function readModelText(
  checkpoint: Checkpoint,
  options: { onProgress: ((progress: LoadProgress) => void) | undefined; signal: AbortSignal | undefined },
): Promise<ModelText> {
  options.onProgress?.({ phase: "tokenizer", bytes: 0, total: 1 });
  const { tokenizer, reason } = await Tokenizer.tryLoad(checkpoint.path, {
    vocabSize: checkpoint.config.vocab_size,
    signal: options.signal,
  });
  options.onProgress?.({ phase: "tokenizer", bytes: 1, total: 1 });
  const chatTemplate = await readChatTemplate(checkpoint);
  const stopTokens = new Set([...checkpoint.eosTokenIds, ...(tokenizer?.special.stopIds ?? [])]);
  let template: ChatTemplate | undefined;
  const requireTokenizer = () => {
    if (tokenizer === undefined) throw reason;
    return tokenizer;
  };
  return {
    tokenizer: requireTokenizer,
    template() {
      const modelType = checkpoint.config.model_type;
      template ??= chooseTemplate({ tokenizer: requireTokenizer(), chatTemplate, modelType });
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

/** chat_template.jinja, or the `chat_template` that older checkpoints keep in tokenizer_config.json. */
async function readChatTemplate({ textFiles }: Checkpoint): Promise<string | undefined> {
  if (textFiles.chatTemplate !== null) {
    const text = await readSmallFile({ name: "chat_template.jinja", path: textFiles.chatTemplate });
    return text.toString("utf8");
  }
  if (textFiles.tokenizerConfig === null) return undefined;
  const { chat_template: text } = await readJsonFile({
    name: "tokenizer_config.json",
    path: textFiles.tokenizerConfig,
  });
  return typeof text === "string" ? text : undefined;
}
