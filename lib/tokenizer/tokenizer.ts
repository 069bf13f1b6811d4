// The tokenizer of a checkpoint: ordinary text to ids and ids to text. Encoding knows no control tokens at all, so no
// text, whoever wrote it, can become one; prompts put them in by id.

import { join } from "node:path";

import { checkSignal, requireObject } from "../check";
import { K2Error } from "../errors";
import { TimeSlice } from "../time-slice";
import { Encoder } from "./encoder";
import { SpecialTokens } from "./special-tokens";
import { StreamingTextDecoder } from "./text-decoder";
import {
  CONFIGURATION_FILE,
  parseConfiguration,
  readTokenizerFiles,
  type TokenizerFiles,
  VOCABULARY_FILE,
} from "./tokenizer-files";
import type { Vocabulary } from "./vocabulary";
import { parseVocabulary } from "./vocabulary-file";

const MAX_VOCAB_SIZE = 0x7fffffff;
const TOKENS_PER_CHECK = 4096;
const FIRST_DECODE_BYTES = 1024;

export interface LoadTokenizerOptions {
  /** `vocab_size` of the model: rows of its embedding. Ids from the number of ranks up to here are control tokens. */
  vocabSize: number;
  /** Ends the loading with an `aborted` error. */
  signal?: AbortSignal | undefined;
}

/** Options of encoding. */
export interface EncodeOptions {
  /** Ends the encoding with an `aborted` error. */
  signal?: AbortSignal | undefined;
}

/** Options of decoding. */
export interface DecodeOptions {
  /** How control tokens appear: by their names, or not at all. Default "name". */
  controlTokens?: "name" | "skip" | undefined;
}

/** Text to ids and back. Never gives a control token for text. */
export class Tokenizer {
  /** Number of ordinary tokens; their ids are 0 to baseCount - 1, and `encode` gives no others. */
  readonly baseCount: number;
  /** One more than the largest id. */
  readonly vocabSize: number;
  /** The control tokens: ids baseCount to vocabSize - 1. */
  readonly special: SpecialTokens;
  private readonly vocabulary: Vocabulary;
  private readonly encoder: Encoder;

  private constructor(vocabulary: Vocabulary, special: SpecialTokens) {
    this.vocabulary = vocabulary;
    this.special = special;
    this.baseCount = vocabulary.size;
    this.vocabSize = special.vocabSize;
    this.encoder = new Encoder(vocabulary);
  }

  /**
   * Loads `tiktoken.model` and `tokenizer_config.json` of a checkpoint folder, or their contents. Yields to the event
   * loop about every millisecond. Throws `missing-tokenizer` where a file is absent, `invalid-checkpoint` where one is damaged
   * (both name it in `details.file`), `io`, `aborted` or `invalid-argument`.
   */
  static async load(source: string | TokenizerFiles, options: LoadTokenizerOptions): Promise<Tokenizer> {
    const { vocabSize, signal } = options;
    if (!Number.isInteger(vocabSize) || vocabSize < 1 || vocabSize > MAX_VOCAB_SIZE) {
      throw invalid("an integer from 1 to 2147483647", "vocabSize", vocabSize);
    }
    const files = typeof source === "string" ? await readTokenizerFiles(source) : source;
    const vocabularyFile = join(files.folder ?? "", VOCABULARY_FILE);
    const configurationFile = join(files.folder ?? "", CONFIGURATION_FILE);
    const configuration = parseConfiguration(files.configuration, configurationFile);
    const vocabulary = await parseVocabulary(files.vocabulary, vocabularyFile, {
      maxTokens: vocabSize,
      signal,
    });
    const special = new SpecialTokens(configuration, {
      baseCount: vocabulary.size,
      vocabSize,
      file: configurationFile,
    });
    // The family's first control token is [BOS]: a vocabulary cut short at the end of a line is found by it.
    if (special.bos !== undefined && special.bos !== vocabulary.size) {
      throw new K2Error(
        "invalid-checkpoint",
        `Expected ${special.bos} tokens, as ${CONFIGURATION_FILE} has [BOS] there, for ${vocabularyFile}, ` +
          `got ${vocabulary.size}`,
        { file: vocabularyFile, expected: special.bos, got: vocabulary.size },
      );
    }
    return new Tokenizer(vocabulary, special);
  }

  /**
   * Like `load`, for models that may come without tokenizer: where a file is absent, `tokenizer` is undefined and
   * `reason` is the error to throw when a text feature is used. Other failures are thrown.
   */
  static async tryLoad(
    folder: string,
    options: LoadTokenizerOptions,
  ): Promise<{ tokenizer: Tokenizer; reason: undefined } | { tokenizer: undefined; reason: K2Error }> {
    try {
      return { tokenizer: await Tokenizer.load(folder, options), reason: undefined };
    } catch (error) {
      if (error instanceof K2Error && error.code === "missing-tokenizer") {
        return { tokenizer: undefined, reason: error };
      }
      throw error;
    }
  }

  /**
   * The ids of ordinary text, without any control token: `<|im_end|>` in it is six ordinary ids. A lone surrogate is
   * encoded as U+FFFD. Takes time linear in the length and holds the thread for it (a megabyte takes about a tenth of a
   * second, a hostile one two tenths), so use `encodeAsync` for text whose size others choose.
   */
  encode(text: string): Int32Array {
    checkText(text);
    const { encoder } = this;
    encoder.begin(text);
    while (!encoder.step());
    return encoder.finish();
  }

  /** Like `encode`, in slices of about 1 ms. Any number may run at once. */
  async encodeAsync(text: string, options: EncodeOptions = {}): Promise<Int32Array> {
    checkText(text);
    checkOptions(options, ["signal"]);
    const slice = new TimeSlice("encoding", checkSignal(options.signal));
    const encoder = new Encoder(this.vocabulary);
    encoder.begin(text);
    while (!encoder.step()) {
      if (slice.isOver) await slice.pause();
    }
    return encoder.finish();
  }

  /** The text of ids, with U+FFFD for bytes that are no UTF-8. Throws `invalid-argument` on an id that does not exist. */
  decode(ids: ArrayLike<number>, options: DecodeOptions = {}): string {
    return this.concatenate(ids, options).toString("utf8");
  }

  /** The bytes of ids: those of ordinary tokens, and the names of control tokens as `options` say. */
  decodeBytes(ids: ArrayLike<number>, options: DecodeOptions = {}): Uint8Array {
    return new Uint8Array(this.concatenate(ids, options));
  }

  /** A decoder for ids that arrive one by one; its texts together equal `decode` of all. */
  createTextDecoder(options: DecodeOptions = {}): StreamingTextDecoder {
    const skipControl = skipsControl(options);
    return new StreamingTextDecoder((id) => this.viewOfToken(id, skipControl));
  }

  /** The bytes of one token, a copy; for a control token its name in UTF-8. */
  tokenBytes(id: number): Uint8Array {
    return new Uint8Array(this.viewOfToken(id, false));
  }

  /** The bytes of all ordinary tokens: token i has [offsets[i], offsets[i + 1]) of the pool. In slices of about 1 ms. */
  async tokenTable(): Promise<{ pool: Uint8Array; offsets: Uint32Array }> {
    const { vocabulary } = this;
    const slice = new TimeSlice("reading the vocabulary");
    const pool = new Uint8Array(vocabulary.byteCount);
    const offsets = new Uint32Array(vocabulary.size + 1);
    for (let first = 0; first < vocabulary.size; first += TOKENS_PER_CHECK) {
      vocabulary.copyBytes(first, Math.min(first + TOKENS_PER_CHECK, vocabulary.size), pool, offsets);
      if (slice.isOver) await slice.pause();
    }
    return { pool, offsets };
  }

  /** The id of a control token by its name, for instance `<|im_user|>`; `undefined` where the checkpoint has none. */
  controlId(name: string): number | undefined {
    return this.special.id(name);
  }

  private concatenate(ids: ArrayLike<number>, options: DecodeOptions): Buffer {
    if (!Array.isArray(ids) && !(ArrayBuffer.isView(ids) && !(ids instanceof DataView))) {
      throw invalid("an array of token ids", "ids", ids);
    }
    const skipControl = skipsControl(options);
    let bytes = Buffer.allocUnsafe(FIRST_DECODE_BYTES);
    let length = 0;
    for (let i = 0; i < ids.length; i++) {
      const view = this.viewOfToken(ids[i], skipControl, i);
      if (length + view.length > bytes.length) {
        bytes = Buffer.concat([bytes.subarray(0, length)], 2 * (length + view.length));
      }
      bytes.set(view, length);
      length += view.length;
    }
    return bytes.subarray(0, length);
  }

  private viewOfToken(id: number | undefined, skipControl: boolean, index?: number): Uint8Array {
    if (!Number.isInteger(id) || id! < 0 || id! >= this.vocabSize) {
      const name = index === undefined ? "id" : `ids[${index}]`;
      throw invalid(`a token id from 0 to ${this.vocabSize - 1}`, name, id);
    }
    if (id! < this.baseCount) return this.vocabulary.bytesOf(id!);
    return skipControl ? Buffer.alloc(0) : Buffer.from(this.special.name(id!), "utf8");
  }
}

function checkText(text: unknown): void {
  if (typeof text !== "string") throw invalid("a string", "text", text);
}

function skipsControl(options: DecodeOptions): boolean {
  checkOptions(options, ["controlTokens"]);
  const { controlTokens = "name" } = options;
  if (controlTokens !== "name" && controlTokens !== "skip") {
    throw invalid('"name" or "skip"', "controlTokens", controlTokens);
  }
  return controlTokens === "skip";
}

function checkOptions(options: object, known: readonly string[]): void {
  for (const key of Object.keys(requireObject(options, "options"))) {
    if (!known.includes(key)) throw invalid(`one of the options ${known.join(", ")}`, "options", key);
  }
}

function invalid(expected: string, option: string, value: unknown): K2Error {
  const got = typeof value === "string" ? JSON.stringify(value.slice(0, 40)) : describe(value);
  const message = `Expected ${expected} for ${option}, got ${got}`;
  return new K2Error("invalid-argument", message, { option, expected, got });
}

function describe(value: unknown): string {
  if (typeof value === "function") return "a function";
  if (typeof value === "object" && value !== null) return Array.isArray(value) ? "an array" : "an object";
  return typeof value === "bigint" ? `${value}n` : String(value);
}
