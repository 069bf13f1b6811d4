// A model as a chat sees it. The temperatures are those that Moonshot publishes for each family; a
// generation_config.json that names its own goes first.

import type { ChatEngine } from "./chat";
import type { Model } from "./model";
import { checkSampling, type SamplingOptions } from "./sampling";

const TEMPERATURES: Readonly<Record<string, number>> = { "kimi-k2-instruct": 0.6 };

export function createChatEngine(model: Model): ChatEngine {
  const template = model.text.template();
  const defaults: SamplingOptions = {
    temperature: TEMPERATURES[template.name] ?? 1,
    ...model.text.samplingDefaults,
  };
  return {
    template,
    tokenizer: model.tokenizer,
    vocabSize: model.config.vocab_size,
    contextTokens: model.contextTokens,
    stopTokens: model.stopTokens,
    parseSampling: (options) => ({ ...defaults, ...checkSampling(options, model.config.vocab_size) }),
    createSession: () => model.createSession(),
  };
}
