// Where tokens come from, as this room sees it: something that decodes and says in the end why it stopped.

import type { SampledToken, TokenEnd } from "../sampling";

/** Tokens of one decode. Leaving the loop ends the decode; failures are thrown out of it as K2Error. */
export interface TokenSource extends AsyncIterable<SampledToken> {
  /** undefined until the last token was delivered. */
  readonly end: TokenEnd | undefined;
}
