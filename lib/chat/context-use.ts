// How much of the context a prompt takes, and what is said where it takes too much.

import { K2Error } from "../errors";

/** How much of the context the next prompt would take. */
export interface ContextUse {
  /** The whole prompt: tools, system prompt, conversation, the head of the answer. */
  promptTokens: number;
  /** Most tokens of prompt and answer together. */
  contextTokens: number;
  /** Most tokens that the answer could have; 0 where the prompt fills the context or does not fit. */
  freeTokens: number;
}

export function contextUse(promptTokens: number, contextTokens: number): ContextUse {
  return { promptTokens, contextTokens, freeTokens: Math.max(0, contextTokens - promptTokens) };
}

/** The error of a prompt that does not fit. */
export function contextFull(promptTokens: number, contextTokens: number): K2Error {
  return new K2Error(
    "context-full",
    `Expected a prompt of at most ${contextTokens} tokens for the context, got ${promptTokens} ` +
      "(compact the conversation, or load the model with more contextTokens)",
    { promptTokens, contextTokens },
  );
}
