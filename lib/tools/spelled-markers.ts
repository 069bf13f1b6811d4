// Some K2 outputs spell the markers of a tool section in ordinary text, in a singular form that is no control token.
// Quoted in prose that is text; directly before or after a call it is the marker. So text that may be such a spelling is
// held back until it is clear what follows.

import { LiteralMatcher } from "./literal-matcher";

export const SPELLED_SECTION_BEGIN = "<|tool_call_section_begin|>";
export const SPELLED_SECTION_END = "<|tool_call_section_end|>";

/** Text before calls: holds back a spelled section begin and white space behind it. */
export class LeadingText {
  private readonly matcher = new LiteralMatcher(SPELLED_SECTION_BEGIN);
  private held = "";

  /** Takes text; returns what cannot be part of the marker any more. */
  push(text: string): string {
    const { matcher } = this;
    if (this.held === "" && !text.includes("<")) return text;
    const before = this.held.length;
    let start = 0;
    for (let i = 0; i < text.length; i++) {
      const isMatched = matcher.pending === matcher.literal.length;
      if (isMatched && text[i]!.trim() === "") continue;
      matcher.push(text.charCodeAt(i));
      start = before + i + 1 - matcher.pending;
    }
    const all = this.held + text;
    this.held = all.slice(start);
    return all.slice(0, start);
  }

  /** Ends the wait: the held text, and whether it is the marker. */
  take(): { text: string; isMarker: boolean } {
    const isMarker = this.matcher.pending === this.matcher.literal.length;
    const text = this.held;
    this.held = "";
    this.matcher.reset();
    return { text, isMarker };
  }
}

/** Text after calls: drops white space and a spelled section end, unless other text follows. */
export class TrailingText {
  private space = "";
  private spelling = "";

  /** Takes text; returns "" while it may still be dropped, else everything held. */
  push(text: string): string {
    let rest = text;
    while (true) {
      if (this.spelling === "") {
        const trimmed = rest.trimStart();
        this.space += rest.slice(0, rest.length - trimmed.length);
        rest = trimmed;
      }
      if (rest === "") return "";
      const candidate = this.spelling + rest;
      if (candidate.startsWith(SPELLED_SECTION_END)) {
        this.space = "";
        this.spelling = "";
        rest = candidate.slice(SPELLED_SECTION_END.length);
        continue;
      }
      if (SPELLED_SECTION_END.startsWith(candidate)) {
        this.spelling = candidate;
        return "";
      }
      this.spelling = candidate;
      return this.take();
    }
  }

  /** Ends the wait: an unfinished spelling is text after all, white space alone is not. */
  take(): string {
    const text = this.spelling === "" ? "" : this.space + this.spelling;
    this.space = "";
    this.spelling = "";
    return text;
  }
}

/** Text inside a section, where only calls belong: shown only if the section turns out to hold none. */
export class SectionText {
  private readonly matcher = new LiteralMatcher(SPELLED_SECTION_END);
  private text = "";

  /** Takes text; once a spelled section end is complete, returns what stands behind it. */
  push(text: string): string | undefined {
    for (let i = 0; i < text.length; i++) {
      if (!this.matcher.push(text.charCodeAt(i))) continue;
      const all = this.text + text.slice(0, i + 1);
      this.text = all.slice(0, all.length - SPELLED_SECTION_END.length);
      this.matcher.reset();
      return text.slice(i + 1);
    }
    this.text += text;
    return undefined;
  }

  /** The text since the last marker. */
  take(): string {
    const { text } = this;
    this.text = "";
    this.matcher.reset();
    return text;
  }
}
