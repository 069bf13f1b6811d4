// Where tokens come from, as this room sees it: something that decodes and says in the end why it stopped.

/** One sampled token of an answer. */
export interface SampledToken {
  id: number;
  /** Natural logarithm of the token's probability, where it was asked for. */
  logprob?: number;
  /** The most likely tokens, best first, where they were asked for. */
  topLogprobs?: { id: number; logprob: number }[];
}

/** Why no more tokens come. */
export type TokenEnd =
  /** A stop token was sampled; it is the last token delivered. */
  "stop" | "max-tokens" | "context-full" | "aborted";

/** Tokens of one decode. Leaving the loop ends the decode; failures are thrown out of it as K2Error. */
export interface TokenSource extends AsyncIterable<SampledToken> {
  /** undefined until the last token was delivered. */
  readonly end: TokenEnd | undefined;
}
