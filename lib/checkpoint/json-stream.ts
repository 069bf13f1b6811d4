// JSON read as bytes from a section of a file, through a window of at most 2 MiB: nothing becomes a JavaScript string
// unless somebody asks, so headers with hundreds of thousands of entries leave no garbage, and a hostile file costs
// no more memory than the window. Reading is synchronous inside one entry; between entries the caller awaits `fill`.

import { isUtf8 } from "node:buffer";
import type { FileHandle } from "node:fs/promises";
import type { K2Error } from "../errors";
import { type CheckpointFile, damaged, printable } from "./faults";

/** The longest entry (one name with its value): that much is always in the window when `short` is false. */
const ENTRY_BYTES = 1 << 20;
const WINDOW_BYTES = 2 * ENTRY_BYTES;
const MAX_DEPTH = 32;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const ZERO = 0x30;
const LETTER_U = 0x75;
/** The characters behind a backslash, and what they stand for. */
const ESCAPES = Buffer.from('"\\/bfnrt');
const ESCAPED = Buffer.from('"\\/\b\f\n\r\t');

export class JsonStream {
  /** Bytes of the string read last, unescaped UTF-8 in `text[textStart, textEnd)`; the next read overwrites it. */
  text: Uint8Array = new Uint8Array(0);
  textStart = 0;
  textEnd = 0;
  /** Names the tensor being read, for errors; undefined outside of tensor entries. */
  tensor: (() => string) | undefined;

  private window: Uint8Array = new Uint8Array(0);
  private position = 0;
  private end = 0;
  private handle: FileHandle | undefined;
  private file: CheckpointFile = { name: "", path: "" };
  /** Position in the file of the first byte of the window, and of the end of the section. */
  private windowOffset = 0;
  private sectionEnd = 0;
  private unescaped: Uint8Array = new Uint8Array(256);

  /** Starts over on bytes [start, end) of `file`. The handle stays the caller's. */
  async open(handle: FileHandle, file: CheckpointFile, start: number, end: number): Promise<void> {
    const needed = Math.min(WINDOW_BYTES, end - start);
    if (this.window.length < needed) this.window = new Uint8Array(needed);
    this.handle = handle;
    this.file = file;
    this.tensor = undefined;
    this.position = 0;
    this.end = 0;
    this.windowOffset = start;
    this.sectionEnd = end;
    await this.fill();
  }

  /** Position in the file of the next unread byte. */
  get offset(): number {
    return this.windowOffset + this.position;
  }

  /** True when less than one longest entry is in the window although the section goes on. */
  get short(): boolean {
    return this.end - this.position < ENTRY_BYTES && this.hasMore;
  }

  /** Moves the unread bytes to the front of the window and reads on behind them. */
  async fill(): Promise<void> {
    this.window.copyWithin(0, this.position, this.end);
    this.windowOffset += this.position;
    this.end -= this.position;
    this.position = 0;
    const wanted = Math.min(this.window.length, this.sectionEnd - this.windowOffset);
    while (this.end < wanted) {
      const { bytesRead } = await this.handle!.read(
        this.window,
        this.end,
        wanted - this.end,
        this.windowOffset + this.end,
      );
      if (bytesRead === 0) {
        throw this.fault(`${this.sectionEnd} bytes`, "a file that became shorter while it was read");
      }
      this.end += bytesRead;
    }
  }

  /** The next byte that is not white space, not consumed; -1 at the end of the section. */
  peek(): number {
    this.skipSpace();
    if (this.position < this.end) return this.window[this.position]!;
    if (this.hasMore) throw this.entryTooLong();
    return -1;
  }

  /** Whether nothing but white space is left in the section. */
  async atEnd(): Promise<boolean> {
    this.skipSpace();
    while (this.position === this.end && this.hasMore) {
      await this.fill();
      this.skipSpace();
    }
    return this.position === this.end;
  }

  /** Consumes `character` (ASCII), which must be the next one that is not white space. */
  take(character: string): void {
    if (this.peek() !== character.charCodeAt(0)) throw this.unexpected(`'${character}'`);
    this.position++;
  }

  /** Consumes `character` if it comes next. */
  takeIf(character: string): boolean {
    if (this.peek() !== character.charCodeAt(0)) return false;
    this.position++;
    return true;
  }

  /** Reads a string into `text`. It must be valid UTF-8 without lone surrogates. */
  string(what: string): void {
    if (this.peek() !== QUOTE) throw this.unexpected(what);
    const window = this.window;
    const start = this.position + 1;
    let seen = 0;
    let at = start;
    for (; ; at++) {
      if (at >= this.end) throw this.cut(what);
      const byte = window[at]!;
      if (byte === QUOTE) break;
      if (byte === BACKSLASH) {
        this.escapedString(what, start, at);
        return;
      }
      if (byte < 0x20) throw this.controlCharacter(what, byte);
      seen |= byte;
    }
    if (seen >= 0x80 && !isUtf8(window.subarray(start, at))) throw this.fault(what, "invalid UTF-8");
    this.text = window;
    this.textStart = start;
    this.textEnd = at;
    this.position = at + 1;
  }

  /** Whether the string read last equals `ascii`; never true for other text. */
  textIs(ascii: string): boolean {
    const length = this.textEnd - this.textStart;
    if (length !== ascii.length) return false;
    for (let i = 0; i < length; i++) {
      const byte = this.text[this.textStart + i]!;
      if (byte !== ascii.charCodeAt(i) || byte >= 0x80) return false;
    }
    return true;
  }

  /** The string read last as a JavaScript string. */
  textString(): string {
    return Buffer.from(this.text.buffer, this.text.byteOffset, this.text.byteLength).toString(
      "utf8",
      this.textStart,
      this.textEnd,
    );
  }

  /** The string read last for an error message. */
  textShown(): string {
    return `"${printable(this.textString(), 80)}"`;
  }

  /** Reads an integer from 0 to 2^53 - 1, written without sign, fraction or exponent. */
  count(what: string): number {
    const first = this.peek() - ZERO;
    if (!(first >= 0 && first <= 9)) throw this.unexpected(what);
    const start = this.position;
    let value = 0;
    while (this.position < this.end) {
      const digit = this.window[this.position]! - ZERO;
      if (!(digit >= 0 && digit <= 9)) break;
      value = value * 10 + digit;
      this.position++;
    }
    const next = this.window[this.position];
    const digits = this.position - start;
    const isPlain = this.position < this.end && next !== 0x2e && next !== 0x65 && next !== 0x45;
    if (!isPlain || (first === 0 && digits > 1)) throw this.fault(what, this.snippet(start));
    // Sixteen digits may pass the limit by rounding; beyond it a double no longer counts in ones.
    if (value > Number.MAX_SAFE_INTEGER) throw this.fault(`${what} up to 2^53 - 1`, this.snippet(start));
    return value;
  }

  /** Skips one word of JSON: null, true or false. */
  skipLiteral(literal: string, what: string): void {
    this.peek();
    const start = this.position;
    for (let i = 0; i < literal.length; i++) {
      if (start + i >= this.end) throw this.cut(what);
      if (this.window[start + i] !== literal.charCodeAt(i)) throw this.unexpected(what);
    }
    this.position += literal.length;
  }

  /** Skips any JSON value of at most 1 MiB, checking its grammar. */
  skipValue(what: string, depth = 0): void {
    if (depth > MAX_DEPTH) throw this.fault(`${what} nested at most ${MAX_DEPTH} deep`, "deeper nesting");
    const byte = this.peek();
    if (byte === QUOTE) {
      this.string(what);
    } else if (byte === 0x7b || byte === 0x5b) {
      this.skipContainer(what, byte === 0x7b, depth);
    } else {
      this.skipScalar(what);
    }
  }

  /** An error of this file at the present position, naming the tensor being read. */
  fault(expected: string, got: string): K2Error {
    return damaged({
      file: this.file,
      tensor: this.tensor?.(),
      expected,
      got: `${got} at byte ${this.offset}`,
    });
  }

  /** An error saying that something else than `expected` comes next. */
  unexpected(expected: string): K2Error {
    if (this.position >= this.end) return this.cut(expected);
    return this.fault(expected, this.snippet(this.position));
  }

  /** Whether the section goes on behind the window. */
  private get hasMore(): boolean {
    return this.windowOffset + this.end < this.sectionEnd;
  }

  private skipSpace(): void {
    const window = this.window;
    while (this.position < this.end) {
      const byte = window[this.position]!;
      if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) return;
      this.position++;
    }
  }

  private skipContainer(what: string, isObject: boolean, depth: number): void {
    const close = isObject ? "}" : "]";
    this.position++;
    if (this.takeIf(close)) return;
    do {
      if (isObject) {
        this.string(what);
        this.take(":");
      }
      this.skipValue(what, depth + 1);
    } while (this.takeIf(","));
    this.take(close);
  }

  private skipScalar(what: string): void {
    const start = this.position;
    for (const literal of ["null", "true", "false"]) {
      if (this.window[start] !== literal.charCodeAt(0)) continue;
      this.skipLiteral(literal, what);
      return;
    }
    // -? digits, then an optional fraction and exponent; a zero stands alone before the fraction.
    if (this.window[start] === 0x2d) this.position++;
    const leadingZero = this.window[this.position] === ZERO;
    const digits = this.skipDigits(what);
    if (leadingZero && digits > 1) throw this.unexpected(what);
    if (this.window[this.position] === 0x2e) {
      this.position++;
      this.skipDigits(what);
    }
    if (((this.window[this.position] ?? 0) | 0x20) === 0x65) {
      this.position++;
      const sign = this.window[this.position];
      if (sign === 0x2b || sign === 0x2d) this.position++;
      this.skipDigits(what);
    }
  }

  private skipDigits(what: string): number {
    const start = this.position;
    while (this.position < this.end) {
      const digit = this.window[this.position]! - ZERO;
      if (!(digit >= 0 && digit <= 9)) break;
      this.position++;
    }
    if (this.position === start) throw this.unexpected(what);
    return this.position - start;
  }

  /** Continues `string` from its first escape at `at`, writing the text as UTF-8 into `unescaped`. */
  private escapedString(what: string, start: number, at: number): void {
    const { window, end } = this;
    const most = end - start;
    if (this.unescaped.length < most) this.unescaped = new Uint8Array(Math.min(most, WINDOW_BYTES));
    const out = this.unescaped;
    out.set(window.subarray(start, at));
    let length = at - start;
    let from = at;
    for (;;) {
      if (from >= end) throw this.cut(what);
      const byte = window[from++]!;
      if (byte === QUOTE) break;
      if (byte < 0x20) throw this.controlCharacter(what, byte);
      if (byte !== BACKSLASH) {
        out[length++] = byte;
        continue;
      }
      if (from >= end) throw this.cut(what);
      const kind = window[from++]!;
      const plain = ESCAPES.indexOf(kind);
      if (plain >= 0) {
        out[length++] = ESCAPED[plain]!;
        continue;
      }
      let code = kind === LETTER_U ? this.hex4(from) : -1;
      if (code < 0) throw this.fault(what, "an unknown escape");
      from += 4;
      if (code >= 0xd800 && code < 0xdc00 && window[from] === BACKSLASH && window[from + 1] === LETTER_U) {
        const low = this.hex4(from + 2);
        if (low >= 0xdc00 && low < 0xe000) {
          code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
          from += 6;
        }
      }
      if (code >= 0xd800 && code < 0xe000) throw this.fault(what, "a lone surrogate");
      length = writeUtf8(code, out, length);
    }
    if (!isUtf8(out.subarray(0, length))) throw this.fault(what, "invalid UTF-8");
    this.text = out;
    this.textStart = 0;
    this.textEnd = length;
    this.position = from;
  }

  /** The value of four hexadecimal digits at window position `at`, or -1. */
  private hex4(at: number): number {
    if (at + 4 > this.end) return -1;
    let value = 0;
    for (let i = at; i < at + 4; i++) {
      const byte = this.window[i]!;
      const letter = (byte | 0x20) - 0x61;
      if (byte >= ZERO && byte < ZERO + 10) value = 16 * value + byte - ZERO;
      else if (letter >= 0 && letter < 6) value = 16 * value + 10 + letter;
      else return -1;
    }
    return value;
  }

  private cut(what: string): K2Error {
    if (this.hasMore) return this.entryTooLong();
    this.position = this.end;
    return this.fault(what, "the end of the text");
  }

  private entryTooLong(): K2Error {
    return this.fault(`entries of at most ${ENTRY_BYTES} bytes`, "a longer one");
  }

  private controlCharacter(what: string, byte: number): K2Error {
    return this.fault(what, `the control character ${byte}`);
  }

  private snippet(start: number): string {
    const bytes = this.window.subarray(start, Math.min(start + 24, this.end));
    return `"${printable(Buffer.from(bytes).toString("latin1"))}"`;
  }
}

/** Writes a code point at `out[at]` and returns the position behind it. */
function writeUtf8(code: number, out: Uint8Array, at: number): number {
  if (code < 0x80) {
    out[at++] = code;
    return at;
  }
  if (code < 0x800) {
    out[at++] = 0xc0 | (code >> 6);
  } else if (code < 0x10000) {
    out[at++] = 0xe0 | (code >> 12);
    out[at++] = 0x80 | ((code >> 6) & 0x3f);
  } else {
    out[at++] = 0xf0 | (code >> 18);
    out[at++] = 0x80 | ((code >> 12) & 0x3f);
    out[at++] = 0x80 | ((code >> 6) & 0x3f);
  }
  out[at++] = 0x80 | (code & 0x3f);
  return at;
}
