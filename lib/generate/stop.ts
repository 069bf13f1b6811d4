// Stop strings over a text that arrives in pieces. Text that may be the beginning of a stop string waits until it is
// clear that it is none, so nothing of a stop string is ever shown. Linear in the length of the text.

import { LiteralMatcher } from "../tools/literal-matcher";

export class StopStrings {
  private readonly matchers: readonly LiteralMatcher[];
  private held = "";

  /** @param strings None of them empty. */
  constructor(strings: readonly string[]) {
    this.matchers = strings.map((text) => new LiteralMatcher(text));
  }

  /**
   * Takes text; returns what can be shown. The stop string that ends first counts; of several that end there, the longest.
   * After `isStop` the object is not used again.
   */
  push(text: string): { text: string; isStop: boolean } {
    if (this.matchers.length === 0) return { text, isStop: false };
    const before = this.held.length;
    const all = this.held + text;
    let pending = 0;
    for (let i = 0; i < text.length; i++) {
      const unit = text.charCodeAt(i);
      let matched = 0;
      pending = 0;
      for (const matcher of this.matchers) {
        if (matcher.push(unit)) matched = Math.max(matched, matcher.literal.length);
        pending = Math.max(pending, matcher.pending);
      }
      if (matched > 0) return { text: all.slice(0, before + i + 1 - matched), isStop: true };
    }
    if (text === "") return { text: "", isStop: false };
    this.held = all.slice(all.length - pending);
    return { text: all.slice(0, all.length - pending), isStop: false };
  }

  /** Ends the wait: the text that was no stop string. */
  take(): string {
    const text = this.held;
    this.held = "";
    for (const matcher of this.matchers) matcher.reset();
    return text;
  }
}
