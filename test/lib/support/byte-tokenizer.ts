// A tokenizer with one token per byte: characters beyond ASCII always span tokens, and any text can be "generated" by
// encoding it. Control tokens follow the 256 bytes.

import type { PromptTokenizer } from "../../../lib/template/segments";
import type { ParserTokenizer, TokenDecoder } from "../../../lib/tools/call-parser";

export const CONTROL_NAMES = [
  "[BOS]",
  "[EOS]",
  "<|im_end|>",
  "<|im_user|>",
  "<|im_assistant|>",
  "<|im_system|>",
  "<|tool_calls_section_begin|>",
  "<|tool_calls_section_end|>",
  "<|tool_call_begin|>",
  "<|tool_call_argument_begin|>",
  "<|tool_call_end|>",
  "<|im_middle|>",
  "<think>",
  "</think>",
];

/** Those of Kimi and of DeepSeek. */
export const ALL_CONTROL_NAMES = [
  ...CONTROL_NAMES,
  "<｜begin▁of▁sentence｜>",
  "<｜end▁of▁sentence｜>",
  "<｜User｜>",
  "<｜Assistant｜>",
  "<｜tool▁calls▁begin｜>",
  "<｜tool▁calls▁end｜>",
  "<｜tool▁call▁begin｜>",
  "<｜tool▁call▁end｜>",
  "<｜tool▁outputs▁begin｜>",
  "<｜tool▁outputs▁end｜>",
  "<｜tool▁output▁begin｜>",
  "<｜tool▁output▁end｜>",
  "<｜tool▁sep｜>",
];

export class ByteTokenizer implements PromptTokenizer, ParserTokenizer {
  readonly baseCount = 256;
  /** Texts that were encoded, in order. */
  readonly encoded: string[] = [];
  private readonly names: readonly string[];

  constructor(names: readonly string[] = CONTROL_NAMES) {
    this.names = names;
  }

  encode(text: string): Int32Array {
    this.encoded.push(text);
    return Int32Array.from(Buffer.from(text, "utf8"));
  }

  async encodeAsync(text: string, options: { signal?: AbortSignal | undefined } = {}): Promise<Int32Array> {
    await Promise.resolve();
    options.signal?.throwIfAborted();
    return this.encode(text);
  }

  controlId(name: string): number | undefined {
    const index = this.names.indexOf(name);
    return index === -1 ? undefined : this.baseCount + index;
  }

  createTextDecoder(): TokenDecoder {
    let decoder = new TextDecoder("utf-8", { ignoreBOM: true });
    return {
      push: (id) => decoder.decode(Uint8Array.of(id), { stream: true }),
      flush: () => {
        const text = decoder.decode();
        decoder = new TextDecoder("utf-8", { ignoreBOM: true });
        return text;
      },
    };
  }

  /** Ids of a transcript: strings are ordinary text, `{ control }` is one control token. */
  ids(...parts: readonly (string | { control: string })[]): number[] {
    return parts.flatMap((part) =>
      typeof part === "string" ? [...Buffer.from(part, "utf8")] : [this.controlId(part.control)!],
    );
  }
}

/** A tokenizer with one token per string that it was asked about: whole pieces of a transcript arrive at once. */
export class PieceTokenizer implements ParserTokenizer {
  readonly baseCount = 1_000_000;
  private readonly pieces: string[] = [];

  controlId(name: string): number | undefined {
    const index = CONTROL_NAMES.indexOf(name);
    return index === -1 ? undefined : this.baseCount + index;
  }

  createTextDecoder(): TokenDecoder {
    return { push: (id) => this.pieces[id]!, flush: () => "" };
  }

  ids(...parts: readonly (string | { control: string })[]): number[] {
    return parts.map((part) =>
      typeof part === "string" ? this.pieces.push(part) - 1 : this.controlId(part.control)!,
    );
  }
}

/** Markers of transcripts, by short names. */
export const M = {
  think: { control: "<think>" },
  endThink: { control: "</think>" },
  section: { control: "<|tool_calls_section_begin|>" },
  endSection: { control: "<|tool_calls_section_end|>" },
  call: { control: "<|tool_call_begin|>" },
  args: { control: "<|tool_call_argument_begin|>" },
  endCall: { control: "<|tool_call_end|>" },
  end: { control: "<|im_end|>" },
} as const;
