// An answer that is long enough to be interrupted, whatever the weights.

/** Digits, each of them a token, that the answer repeats under `ENDLESS`. */
export const REPEATED = "7777777777";

/** The more often a token has occurred, the more likely it is: the digits of the prompt win until the context is full. */
export const ENDLESS: readonly string[] = [
  "--frequency-penalty",
  "-100",
  "--temperature",
  "0",
  "--threads",
  "1",
];
