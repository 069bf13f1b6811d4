// A prompt is a list of segments, and only a control segment can become a control token: all text, whoever wrote it, is
// encoded with special tokens switched off. Text between two control tokens is one string for the tokenizer, as in the
// published pipeline, where a merge may cross from the template's words into the user's.

import { K2Error } from "../errors";
import { TimeSlice } from "../time-slice";
import { ComputedText, type Spelling, type SpellingTokenizer } from "./computed-text";

export type Segment =
  /** A control token by its name. Which names there are is a matter of the family. */
  | { readonly kind: "control"; readonly name: string }
  /** Words of the layout itself. */
  | { readonly kind: "template"; readonly text: string }
  /** Everything that came from outside: content, names, schemas, arguments, results. */
  | { readonly kind: "content"; readonly text: string };

/** What prompts need of a tokenizer: text to ids that never are control tokens, and control tokens by name. */
export interface PromptTokenizer {
  encode(text: string): Int32Array;
  /** In slices, so that a long text does not hold JavaScript's thread. */
  encodeAsync(text: string, options?: { signal?: AbortSignal | undefined }): Promise<Int32Array>;
  /** undefined where the checkpoint does not declare the token. */
  controlId(name: string): number | undefined;
}

/** Whether generation starts inside a thinking block: nothing closed the one that the prompt opened last. */
export function opensThinking(segments: readonly Segment[]): boolean {
  const last = segments.findLast((segment) => segment.kind === "control");
  return last?.kind === "control" && last.name === "<think>";
}

/** The ids of a prompt. */
export function encodeSegments(segments: readonly Segment[], tokenizer: PromptTokenizer): Int32Array {
  const parts: Int32Array[] = [];
  for (const run of runsOf(segments))
    parts.push(run.isText ? tokenizer.encode(run.text) : idOf(run, tokenizer));
  return joinParts(parts);
}

/**
 * Encodes prompts that grow: a run of text that stood in the previous prompt is not encoded again, so a step of a long
 * conversation costs what is new in it. Text that the model wrote keeps the ids that it wrote.
 */
export class PromptEncoder {
  private readonly tokenizer: PromptTokenizer & SpellingTokenizer;
  private previous = new Map<string, Spelling>();

  constructor(tokenizer: PromptTokenizer & SpellingTokenizer) {
    this.tokenizer = tokenizer;
  }

  /**
   * Rejects with `aborted` when the signal fires.
   * @param computed Ids that a session has computed, for as much of the prompt as they spell.
   */
  async encode(
    segments: readonly Segment[],
    signal?: AbortSignal,
    computed: ArrayLike<number> = [],
  ): Promise<Int32Array> {
    const { parts, texts } = await this.encodeRuns(segments, signal, computed);
    this.previous = texts;
    return joinParts(parts);
  }

  /** The number of ids. Text that is counted here need not be encoded again by the next `encode`. */
  async count(
    segments: readonly Segment[],
    signal?: AbortSignal,
    computed: ArrayLike<number> = [],
  ): Promise<number> {
    const { parts, texts } = await this.encodeRuns(segments, signal, computed);
    for (const [text, spelling] of texts) this.previous.set(text, spelling);
    return parts.reduce((total, part) => total + part.length, 0);
  }

  private async encodeRuns(
    segments: readonly Segment[],
    signal: AbortSignal | undefined,
    computed: ArrayLike<number>,
  ) {
    const written = new ComputedText(this.tokenizer, computed);
    const texts = new Map<string, Spelling>();
    const parts: Int32Array[] = [];
    const slice = new TimeSlice("encoding the prompt", signal);
    for (const run of runsOf(segments)) {
      // Looking up the runs of a prompt of 256K tokens takes many milliseconds.
      if (slice.isOver) await slice.pause();
      if (!run.isText) {
        const id = idOf(run, this.tokenizer);
        written.passControl(id[0]!);
        parts.push(id);
        continue;
      }
      const known = texts.get(run.text) ?? this.previous.get(run.text);
      const spelling = known ?? { usual: await this.tokenizer.encodeAsync(run.text, { signal }) };
      texts.set(run.text, spelling);
      parts.push(written.passText(run.text, spelling));
    }
    return { parts, texts };
  }
}

interface Run {
  isText: boolean;
  /** The text, or the name of one control token. */
  text: string;
}

function* runsOf(segments: readonly Segment[]): Generator<Run, void, undefined> {
  let pieces: string[] = [];
  for (const segment of segments) {
    if (segment.kind !== "control") {
      if (segment.text !== "") pieces.push(segment.text);
      continue;
    }
    if (pieces.length > 0) yield textRun(pieces);
    pieces = [];
    yield { isText: false, text: segment.name };
  }
  if (pieces.length > 0) yield textRun(pieces);
}

function textRun(pieces: readonly string[]): Run {
  // A single piece stays the string that it was, which a lookup knows by identity.
  return { isText: true, text: pieces.length === 1 ? pieces[0]! : pieces.join("") };
}

function idOf(run: Run, tokenizer: PromptTokenizer): Int32Array {
  const id = tokenizer.controlId(run.text);
  if (id === undefined) {
    throw new K2Error(
      "unsupported-checkpoint",
      `Expected the control token ${run.text} for the chat layout, got a tokenizer that does not declare it`,
      { token: run.text },
    );
  }
  return Int32Array.of(id);
}

function joinParts(parts: readonly Int32Array[]): Int32Array {
  const ids = new Int32Array(parts.reduce((total, part) => total + part.length, 0));
  let at = 0;
  for (const part of parts) {
    ids.set(part, at);
    at += part.length;
  }
  return ids;
}
