// Content on its way through a foreign template. Each string travels as a placeholder that nobody can guess, so that in
// the output it is known, character by character, what came from outside: a control token is looked for only in what the
// template itself wrote.
//
// One form of placeholders holds a quote, a letter beyond ASCII, a line break and a space. How they come out tells what
// the template did to the string: JSON shows as `\"`, JSON inside JSON as `\\\"`, and the content is then escaped as often.
// A template that works on lines or words breaks the placeholder, and is refused.

import type { JsonValue } from "./json";

/** A piece of a rendered template: its own words, or content by number, as often JSON-escaped as the template did it. */
export type Piece = { text: string } | { content: number; escapes: number; isAscii: boolean };

/**
 * Two forms of the same placeholders: rendered with both, a template that only passes content on gives the same pieces.
 * They have no character in common at any place, so that one that measures, cuts, changes or compares content is found.
 */
export type Form = "plain" | "quoted";

/** Words of JSON Schema and of OpenAI's shapes that templates look for by name. They hold no markup, so they stay. */
const WORDS: ReadonlySet<string> = new Set(
  (
    "type function name description parameters properties required items enum default strict additionalProperties " +
    "anyOf oneOf allOf not const format title nullable examples minimum maximum minLength maxLength minItems maxItems " +
    "pattern uniqueItems object string number integer boolean array null"
  ).split(" "),
);
const MOST_ESCAPES = 4;

/** Whether data keeps a string as it is. */
export function staysLiteral(text: string): boolean {
  return WORDS.has(text);
}

/** The content of one render. Equal strings share a number, so that a template can compare them. */
export class Contents {
  readonly texts: string[] = [];
  private readonly numbers = new Map<string, number>();

  /** The number of a text; its surrounding white space is not part of the numbered text. */
  add(text: string): number {
    const known = this.numbers.get(text);
    if (known !== undefined) return known;
    this.numbers.set(text, this.texts.length);
    return this.texts.push(text) - 1;
  }
}

/** Writes content as placeholders of one form, and finds them again in the output. */
export class Placeholders {
  private readonly contents: Contents;
  private readonly form: Form;
  private readonly nonce: string;

  constructor(contents: Contents, form: Form) {
    this.contents = contents;
    this.form = form;
    // Digits for one form, letters for the other: no position agrees.
    const bits = [...crypto.getRandomValues(new Uint8Array(40))];
    this.nonce = bits
      .map((byte) => (form === "plain" ? byte % 10 : String.fromCharCode(97 + (byte % 26))))
      .join("");
  }

  /**
   * White space at the ends stays as it is: templates trim it, and no control token has any. Empty text stays empty, as
   * templates ask for that.
   */
  write(text: string): string {
    const core = text.trim();
    if (core === "") return text;
    const start = text.indexOf(core);
    return text.slice(0, start) + this.mark(this.contents.add(core)) + text.slice(start + core.length);
  }

  /** Data with all its strings written, keys too, save the words that templates look for. */
  writeJson(value: JsonValue): JsonValue {
    if (typeof value === "string") return staysLiteral(value) ? value : this.write(value);
    if (typeof value !== "object" || value === null) return value;
    if (Array.isArray(value)) return value.map((item) => this.writeJson(item));
    const entries = Object.entries(value).map(([key, item]) => {
      return [staysLiteral(key) ? key : this.write(key), this.writeJson(item)] as const;
    });
    return Object.fromEntries(entries);
  }

  /** The pieces of an output. */
  split(output: string): Piece[] {
    const pieces: Piece[] = [];
    const push = (text: string) => {
      if (text !== "") pieces.push({ text });
    };
    let end = 0;
    for (const match of output.matchAll(this.pattern())) {
      push(output.slice(end, match.index));
      const [whole, slashes = "", letter = "", number = ""] = match;
      // n-fold JSON puts 2^n - 1 backslashes in front of a quote.
      const escapes = Math.log2(slashes.length + 1);
      const content = unspell(number);
      const isKnown = Number.isInteger(escapes) && content < this.contents.texts.length;
      if (isKnown) pieces.push({ content, escapes, isAscii: letter.startsWith("\\") });
      else push(whole);
      end = match.index + whole.length;
    }
    push(output.slice(end));
    return pieces;
  }

  private mark(number: number): string {
    const { nonce, form } = this;
    return form === "plain" ? `${nonce}n${number}n` : `${nonce}"é\n ${spell(number)}Z`;
  }

  private pattern(): RegExp {
    const { nonce, form } = this;
    if (form === "plain") return new RegExp(`${nonce}()()n(\\d{1,9})n`, "g");
    const most = 2 ** MOST_ESCAPES - 1;
    const lineBreak = `(?:\\n|\\\\{1,${most}}n)`;
    return new RegExp(`${nonce}(\\\\{0,${most}})"(é|\\\\{1,${most}}u00e9)${lineBreak} ([a-j]{1,9})Z`, "g");
  }
}

/** The digits of a number as letters, so that the two forms have none in common. */
function spell(number: number): string {
  return [...String(number)].map((digit) => String.fromCharCode(97 + Number(digit))).join("");
}

function unspell(text: string): number {
  return Number([...text].map((letter) => (/\d/.test(letter) ? letter : letter.charCodeAt(0) - 97)).join(""));
}

/**
 * The pieces that both renders agree on: the words of the one, and how often content was escaped, which only the quoted
 * form shows. undefined where they differ.
 */
export function agreedPieces(
  plain: readonly Piece[],
  quoted: readonly Piece[],
): readonly Piece[] | undefined {
  const isSame = (piece: Piece, index: number) => {
    const other = plain[index]!;
    if ("text" in piece) return "text" in other && piece.text === other.text;
    return "content" in other && piece.content === other.content;
  };
  return plain.length === quoted.length && quoted.every(isSame) ? quoted : undefined;
}

/** A content as often escaped as its placeholder was. */
export function escaped(text: string, { escapes, isAscii }: { escapes: number; isAscii: boolean }): string {
  let result = text;
  for (let i = 0; i < escapes; i++) {
    result = JSON.stringify(result).slice(1, -1);
    if (isAscii) result = result.replace(/[\u0080-\uffff]/g, asciiEscape);
  }
  return result;
}

function asciiEscape(unit: string): string {
  return `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
}
