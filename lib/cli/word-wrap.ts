// Lines that break between words, for text that arrives in pieces: a word waits until it is whole, or until it is too
// long for any line.

/** Characters of which each may begin a line and takes two columns. */
const WIDE =
  "\\p{Script=Han}\\p{Script=Hiragana}\\p{Script=Katakana}\\p{Script=Hangul}\\u3000-\\u303f\\uff01-\\uff60";
const PIECES = new RegExp(`\\n|[^\\S\\n]+|[${WIDE}]|[^\\s${WIDE}]+`, "gu");
const IS_WIDE = new RegExp(`[${WIDE}]`, "u");

export class WordWrap {
  private readonly indent: number;
  private readonly columns: () => number;
  private column: number;
  private space = "";
  private word = "";

  /**
   * @param indent Columns in front of every line; those of the first line are already written.
   * @param columns The width of a line.
   */
  constructor(indent: number, columns: () => number) {
    this.indent = indent;
    this.column = indent;
    this.columns = columns;
  }

  /** Takes text; returns what can be written. */
  push(text: string): string {
    let out = "";
    for (const piece of text.match(PIECES) ?? []) {
      if (piece === "\n") {
        out += this.place() + this.breakLine();
      } else if (piece.trim() === "") {
        out += this.place();
        this.space += piece;
      } else if (IS_WIDE.test(piece)) {
        out += this.place();
        this.word = piece;
        out += this.place(2);
      } else {
        this.word += piece;
        if (this.word.length > this.columns()) out += this.place();
      }
    }
    return out;
  }

  /** The word that waited. */
  flush(): string {
    return this.place();
  }

  private place(width = this.word.length): string {
    if (this.word === "") return "";
    const needed = this.space.length + width;
    const isFull = this.column + needed > this.columns() && this.column > this.indent;
    const lead = isFull ? this.breakLine() : this.space;
    this.column += isFull ? width : needed;
    const out = lead + this.word;
    this.space = "";
    this.word = "";
    return out;
  }

  private breakLine(): string {
    this.column = this.indent;
    this.space = "";
    return `\n${" ".repeat(this.indent)}`;
  }
}
