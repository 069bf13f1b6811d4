// Reads `tiktoken.model`: one line per token, its bytes in base64, a space, and its rank. Everything that is not exactly
// that is refused with file and line, because one wrong rank shifts the meaning of every id behind it.

import { K2Error } from "../errors";
import { TimeSlice } from "../time-slice";
import { printable } from "./printable";
import { MAX_TOKEN_BYTES, Vocabulary } from "./vocabulary";

/** Largest `tiktoken.model` that is read. Kimi's has 2.8 MB. */
export const MAX_VOCABULARY_FILE_BYTES = 16 * 1024 * 1024;

const LINES_PER_CHECK = 64;
const BYTES_PER_CHECK = 1 << 16;
const MAX_RANK_DIGITS = 9;
// Base64 of the longest token, the space, the rank, and a carriage return.
const MAX_LINE_BYTES = Math.ceil(MAX_TOKEN_BYTES / 3) * 4 + 1 + MAX_RANK_DIGITS + 1;

const LINE_FEED = 0x0a;
const CARRIAGE_RETURN = 0x0d;
const SPACE = 0x20;
const PADDING = 0x3d;
const NOT_BASE64 = 255;

const sextetOf = new Uint8Array(256).fill(NOT_BASE64);
for (const [index, character] of [
  ..."ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
].entries()) {
  sextetOf[character.charCodeAt(0)] = index;
}

export interface ParseVocabularyOptions {
  /** Most tokens that the model has rows for; default: no limit. */
  maxTokens?: number;
  signal?: AbortSignal | undefined;
}

/**
 * Parses the bytes of a `tiktoken.model`; `file` names them in errors. Lines may stand in any order. Yields to the event
 * loop about every millisecond. Every violation is a K2Error `invalid-checkpoint` with `details.file` and `details.line`.
 */
export async function parseVocabulary(
  content: Uint8Array,
  file: string,
  options: ParseVocabularyOptions = {},
): Promise<Vocabulary> {
  const slice = new TimeSlice("loading the tokenizer", options.signal);
  if (content.length > MAX_VOCABULARY_FILE_BYTES) {
    throw new K2Error(
      "invalid-checkpoint",
      `Expected at most ${MAX_VOCABULARY_FILE_BYTES} bytes for ${file}, got ${content.length}`,
      { file, expected: MAX_VOCABULARY_FILE_BYTES, got: content.length },
    );
  }
  const lines = await countLines(content, slice);
  const { maxTokens } = options;
  if (maxTokens !== undefined && lines > maxTokens) {
    throw new K2Error(
      "invalid-checkpoint",
      `Expected at most ${maxTokens} tokens (vocab_size) for ${file}, got ${lines}`,
      { file, expected: maxTokens, got: lines },
    );
  }

  const vocabulary = new Vocabulary(lines, Math.ceil((content.length * 3) / 4));
  const parser = new LineParser(content, file, vocabulary);
  for (let line = 1; line <= lines; line++) {
    parser.parseLine(line);
    if (line % LINES_PER_CHECK === 0 && slice.isOver) await slice.pause();
  }
  checkSingleBytes(vocabulary, file);
  return vocabulary;
}

/** Lines of the file; a last one without its line feed counts. */
async function countLines(content: Uint8Array, slice: TimeSlice): Promise<number> {
  let lines = 0;
  for (let at = 0; at < content.length; at++) {
    if (content[at] === LINE_FEED) lines++;
    if (at % BYTES_PER_CHECK === 0 && slice.isOver) await slice.pause();
  }
  return content.length > 0 && content[content.length - 1] !== LINE_FEED ? lines + 1 : lines;
}

function checkSingleBytes(vocabulary: Vocabulary, file: string): void {
  const byte = new Uint8Array(1);
  for (byte[0] = 0; ; byte[0]++) {
    if (vocabulary.rankOf(byte, 0, 1) === -1) {
      const name = `0x${byte[0]!.toString(16).padStart(2, "0")}`;
      throw new K2Error(
        "invalid-checkpoint",
        `Expected a token for every single byte for ${file}, got none for byte ${name}`,
        { file, expected: "256 single bytes", got: name },
      );
    }
    if (byte[0] === 255) return;
  }
}

class LineParser {
  private readonly content: Uint8Array;
  private readonly file: string;
  private readonly vocabulary: Vocabulary;
  private readonly token = new Uint8Array(MAX_TOKEN_BYTES + 2);
  private at = 0;
  private lineStart = 0;
  private line = 0;

  constructor(content: Uint8Array, file: string, vocabulary: Vocabulary) {
    this.content = content;
    this.file = file;
    this.vocabulary = vocabulary;
  }

  /** Adds the token of the next line, which is number `line`. */
  parseLine(line: number): void {
    this.line = line;
    this.lineStart = this.at;
    const length = this.parseToken();
    const rank = this.parseRank();
    const { vocabulary } = this;
    if (rank >= vocabulary.size) {
      this.fail(`a rank from 0 to ${vocabulary.size - 1} (one per line)`, String(rank));
    }
    if (vocabulary.has(rank)) this.fail("a rank that no other line has", String(rank));
    const equal = vocabulary.add(rank, this.token, length);
    if (equal !== -1) this.fail("a token that no other line has", `the token of rank ${equal} again`);
  }

  /** Decodes strict base64 into `token` up to the space; returns the number of bytes. */
  private parseToken(): number {
    const { token } = this;
    let bits = 0;
    let characters = 0;
    let length = 0;
    let sextet = this.sextet();
    while (sextet !== NOT_BASE64) {
      if (length >= MAX_TOKEN_BYTES) this.fail(`a token of at most ${MAX_TOKEN_BYTES} bytes`, this.shown());
      bits = ((bits << 6) | sextet) & 0xffffff;
      characters++;
      if (characters % 4 === 0) {
        token[length++] = bits >>> 16;
        token[length++] = (bits >>> 8) & 255;
        token[length++] = bits & 255;
      }
      this.at++;
      sextet = this.sextet();
    }
    const over = characters % 4;
    if (over === 1) this.fail("a token in base64", this.shown());
    if (over === 2) {
      if (bits & 15 || !this.skip(PADDING) || !this.skip(PADDING))
        this.fail("a token in base64", this.shown());
      token[length++] = (bits >>> 4) & 255;
    } else if (over === 3) {
      if (bits & 3 || !this.skip(PADDING)) this.fail("a token in base64", this.shown());
      token[length++] = (bits >>> 10) & 255;
      token[length++] = (bits >>> 2) & 255;
    }
    if (characters === 0 || !this.skip(SPACE))
      this.fail("a token in base64, a space and a rank", this.shown());
    if (length > MAX_TOKEN_BYTES) this.fail(`a token of at most ${MAX_TOKEN_BYTES} bytes`, this.shown());
    return length;
  }

  /** Reads a decimal integer and the end of the line. */
  private parseRank(): number {
    const { content } = this;
    const start = this.at;
    let rank = 0;
    while (content[this.at]! >= 0x30 && content[this.at]! <= 0x39 && this.at - start < MAX_RANK_DIGITS) {
      rank = rank * 10 + content[this.at++]! - 0x30;
    }
    const digits = this.at - start;
    const leadingZero = digits > 1 && content[start] === 0x30;
    this.skip(CARRIAGE_RETURN);
    if (digits === 0 || leadingZero || (this.at < content.length && !this.skip(LINE_FEED))) {
      this.fail("a rank as a decimal integer after one space", this.shown());
    }
    return rank;
  }

  private sextet(): number {
    return this.at < this.content.length ? sextetOf[this.content[this.at]!]! : NOT_BASE64;
  }

  private skip(byte: number): boolean {
    if (this.content[this.at] !== byte) return false;
    this.at++;
    return true;
  }

  /** The line as an error shows it: the first characters, quoted and escaped. */
  private shown(): string {
    const { content, lineStart } = this;
    let end = lineStart;
    while (end < content.length && content[end] !== LINE_FEED && end - lineStart < MAX_LINE_BYTES) end++;
    const text = Buffer.from(content.buffer, content.byteOffset + lineStart, end - lineStart).toString(
      "latin1",
    );
    if (text.length <= 48) return printable(JSON.stringify(text));
    return `${printable(JSON.stringify(text.slice(0, 40)))}... (${end - lineStart} characters or more)`;
  }

  private fail(expected: string, got: string): never {
    const { file, line } = this;
    throw new K2Error("invalid-checkpoint", `Expected ${expected} for line ${line} of ${file}, got ${got}`, {
      file,
      line,
      expected,
      got,
    });
  }
}
