// A model as a chat sees it. The defaults of sampling are those that Moonshot publishes for each family; a
// generation_config.json that names its own goes first.

import type { ChatEngine } from "./chat-engine";
import type { Model } from "./model";
import { checkSampling, type SamplingOptions } from "./sampling";

const DEFAULTS: Readonly<Record<string, SamplingOptions>> = {
  "kimi-k2-instruct": { temperature: 0.6 },
  // Of thinking; Moonshot names 0.6 for instant mode.
  "kimi-k2.5": { temperature: 1, topP: 0.95 },
};

export function createChatEngine(model: Model): ChatEngine {
  const template = model.text.template();
  const defaults: SamplingOptions = {
    temperature: 1,
    ...DEFAULTS[template.name],
    ...model.text.samplingDefaults,
  };
  return {
    template,
    tokenizer: model.tokenizer,
    vocabSize: model.config.vocab_size,
    contextTokens: model.contextTokens,
    stopTokens: model.stopTokens,
    parseSampling: (options) => ({ ...defaults, ...checkSampling(options, model.config.vocab_size) }),
    createSession: (options) => model.createSession(options),
  };
}
