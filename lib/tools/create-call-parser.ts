// The parsers as a program uses them on its own, with any engine: over token ids, or over text where a server hides the
// ids. Both are the same state machine, so both give the same events.

import {
  invalidArgument,
  refuseUnknownKeys,
  requireArray,
  requireNonEmptyString,
  requireObject,
} from "../check";
import type { CallParser, CallParserEvent, CallParserOptions, ParserTokenizer } from "./call-parser";
import { createKimiK2CallParser, MARKERS } from "./kimi-k2-call-parser";
import { MarkerSplitter } from "./marker-splitter";

const SHARED_KEYS = ["tools", "firstCallIndex", "startsThinking"];
const ID_KEYS: ReadonlySet<string> = new Set(["tokenizer", "endTokens", ...SHARED_KEYS]);
const TEXT_KEYS: ReadonlySet<string> = new Set(SHARED_KEYS);

/**
 * A parser over token ids, the exact one: a marker that somebody quotes in text stays text.
 * `tokenizer` is that of `loadTokenizer`, of a model, or any object with these three members.
 * @throws K2Error `invalid-argument`
 */
export function createCallParser(options: CallParserOptions): CallParser {
  const all = requireObject(options, "options");
  refuseUnknownKeys(all, ID_KEYS, "options");
  const tokenizer = requireObject(all.tokenizer, "tokenizer") as Partial<ParserTokenizer>;
  if (!Number.isSafeInteger(tokenizer.baseCount)) {
    throw invalidArgument("an integer", "tokenizer.baseCount", tokenizer.baseCount);
  }
  for (const name of ["controlId", "createTextDecoder"] as const) {
    if (typeof tokenizer[name] !== "function") {
      throw invalidArgument("a function", `tokenizer.${name}`, tokenizer[name]);
    }
  }
  if (options.endTokens !== undefined && typeof options.endTokens[Symbol.iterator] !== "function") {
    throw invalidArgument("a list of token ids", "endTokens", options.endTokens);
  }
  checkShared(options);
  return createKimiK2CallParser(options);
}

/** What a text parser knows before the first text. */
export type TextCallParserOptions = Pick<CallParserOptions, "tools" | "firstCallIndex" | "startsThinking">;

/** Like `CallParser`, for text in pieces of any size, cut anywhere. */
export interface TextCallParser {
  readonly state: CallParser["state"];
  /** Takes text; what may be the beginning of a marker waits. */
  push(text: string): readonly CallParserEvent[];
  /** Says that no text will follow. A call that is still open is reported as incomplete. */
  finish(): readonly CallParserEvent[];
}

/**
 * A parser over text, for servers that show no token ids. The server must not strip the markers. Text alone cannot tell a
 * marker from its quotation: where the model quotes one, it counts. Prefer `createCallParser` where ids are there.
 * @throws K2Error `invalid-argument`
 */
export function createTextCallParser(options: TextCallParserOptions = {}): TextCallParser {
  refuseUnknownKeys(requireObject(options, "options"), TEXT_KEYS, "options");
  checkShared(options);
  const tokenizer = new PieceTokenizer();
  const parser = createKimiK2CallParser({ ...options, tokenizer });
  const splitter = new MarkerSplitter([...MARKERS, END_OF_TURN]);
  const feed = (pieces: readonly { text: string; isMarker: boolean }[]) =>
    pieces.flatMap(({ text, isMarker }) => {
      tokenizer.piece = text;
      return [...parser.push(isMarker ? tokenizer.controlId(text)! : PIECE)];
    });
  return {
    get state() {
      return parser.state;
    },
    push(text) {
      if (typeof text !== "string") throw invalidArgument("a string", "text", text);
      return feed(splitter.push(text));
    },
    finish: () => [...feed(splitter.finish()), ...parser.finish()],
  };
}

const END_OF_TURN = "<|im_end|>";
const NAMES: readonly string[] = [...MARKERS, END_OF_TURN];
/** The id of ordinary text, whatever it says. */
const PIECE = 0;

/** Gives ids to markers, and one to whatever text is at hand. */
class PieceTokenizer implements ParserTokenizer {
  readonly baseCount = PIECE + 1;
  piece = "";

  controlId(name: string): number | undefined {
    const index = NAMES.indexOf(name);
    return index === -1 ? undefined : this.baseCount + index;
  }

  createTextDecoder() {
    return { push: () => this.piece, flush: () => "" };
  }
}

function checkShared({ tools, firstCallIndex, startsThinking }: TextCallParserOptions): void {
  if (tools !== undefined) {
    for (const [index, tool] of requireArray(tools, "tools").entries()) {
      const path = `tools[${index}].function`;
      const { name } = requireObject(requireObject(tool, `tools[${index}]`).function, path);
      requireNonEmptyString(name, `${path}.name`);
    }
  }
  if (firstCallIndex !== undefined && !(Number.isSafeInteger(firstCallIndex) && firstCallIndex >= 0)) {
    throw invalidArgument("an integer of at least 0", "firstCallIndex", firstCallIndex);
  }
  if (startsThinking !== undefined && typeof startsThinking !== "boolean") {
    throw invalidArgument("a boolean", "startsThinking", startsThinking);
  }
}
