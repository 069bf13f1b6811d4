// One text has many spellings in tokens, and a model that samples does not always write the one that the tokenizer would.
// In the next prompt its answers stand as text again; encoded anew, they would differ from what the session has computed,
// and all behind the difference would be computed once more. So what was computed for a text stays its spelling.

import type { TokenDecoder } from "../tools/call-parser";

/** What this needs of a tokenizer. */
export interface SpellingTokenizer {
  /** Ids from here on are control tokens and never text. */
  readonly baseCount: number;
  createTextDecoder(): TokenDecoder;
}

/** The ids of a text. */
export interface Spelling {
  /** The tokenizer's. */
  readonly usual: Int32Array;
  /** Those that a model wrote, where they are others. */
  written?: Int32Array;
}

/** Follows the runs of a prompt along ids that were computed, up to the first difference. */
export class ComputedText {
  /** Undefined behind the first difference. */
  private at: number | undefined = 0;

  constructor(
    private readonly tokenizer: SpellingTokenizer,
    private readonly computed: ArrayLike<number>,
  ) {}

  passControl(id: number): void {
    if (this.at !== undefined) this.at = this.computed[this.at] === id ? this.at + 1 : undefined;
  }

  /** The ids that were computed for this text, which they stay, or the tokenizer's own. */
  passText(text: string, spelling: Spelling): Int32Array {
    const { at: from, computed } = this;
    if (from === undefined) return spelling.usual;
    let to = from;
    while (to < computed.length && computed[to]! < this.tokenizer.baseCount) to += 1;
    this.at = to;
    for (const ids of [spelling.written, spelling.usual]) {
      if (ids !== undefined && ids.length === to - from && ids.every((id, i) => id === computed[from + i])) {
        return ids;
      }
    }
    if (this.spells(text, from, to)) {
      spelling.written = Int32Array.from({ length: to - from }, (_, i) => computed[from + i]!);
      return spelling.written;
    }
    this.at = undefined;
    return spelling.usual;
  }

  private spells(text: string, from: number, to: number): boolean {
    const decoder = this.tokenizer.createTextDecoder();
    let length = 0;
    const goesOn = (piece: string) => {
      length += piece.length;
      return text.startsWith(piece, length - piece.length);
    };
    for (let i = from; i < to; i++) if (!goesOn(decoder.push(this.computed[i]!))) return false;
    return goesOn(decoder.flush()) && length === text.length;
  }
}
