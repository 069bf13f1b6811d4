// What an answer may consist of, as a grammar over tokens: thinking and text are free, calls are not.
//
//   section begin (call begin functions.NAME:k argument begin ARGUMENTS call end)+ section end
//
// The running index k counts on by itself, so one grammar serves every turn of a conversation.

import { finishWork } from "../grammar/finish";
import { GrammarBuilder, type GrammarProgram, NO_LIMIT } from "../grammar/program";
import type { Work } from "../grammar/work";
import type { ParserTokenizer } from "./call-parser";

/** Where an answer begins: inside a thinking block, before one that may come, or behind it. */
export type ThinkingState = "open" | "possible" | "over";

/** A tool whose calls the grammar admits. */
export interface CallableTool {
  name: string;
  /** The grammar of its arguments' JSON text. */
  parameters: GrammarProgram;
}

export interface TurnGrammarOptions {
  tokenizer: ParserTokenizer;
  /** One more than the last control token. */
  vocabSize: number;
  /** Tokens that end a turn. */
  endTokens: readonly number[];
  /** Without any there are no calls. */
  tools: readonly CallableTool[];
  /** Whether the answer must be calls. */
  mustCall: boolean;
  /** Whether an answer may hold more than one call. */
  isParallel: boolean;
  /** What the text of an answer without calls is to be; undefined: anything. */
  format: GrammarProgram | undefined;
  thinking: ThinkingState;
}

export function* turnWork(options: TurnGrammarOptions): Work<GrammarProgram> {
  const grammar = new TurnGrammar(options);
  const start = grammar.builder.addRule(grammar.turn());
  yield;
  return yield* finishWork(grammar.builder, { start, name: "tools", imports: grammar.imports });
}

class TurnGrammar {
  readonly builder = new GrammarBuilder();
  readonly imports: GrammarProgram[] = [];
  private readonly ends: ReadonlySet<number>;

  constructor(private readonly options: TurnGrammarOptions) {
    const { endTokens, tokenizer } = options;
    const isControl = (id: number | undefined) => id !== undefined && id >= tokenizer.baseCount;
    this.ends = new Set([...endTokens, tokenizer.controlId("<|im_end|>")].filter(isControl) as number[]);
  }

  turn(): number {
    const { builder } = this;
    const { format, mustCall } = this.options;
    const calls = this.calls();
    const end =
      this.ends.size === 0 ? builder.empty : builder.alt(...[...this.ends].map((id) => builder.token(id)));
    if (mustCall) return builder.seq(this.behindThinking(calls, calls), end);
    if (format !== undefined) {
      const answer = builder.alt(calls, this.imported(format));
      return builder.seq(this.behindThinking(answer, calls), end);
    }
    return builder.seq(this.free(), builder.alt(builder.seq(calls, end), end));
  }

  /** Any tokens but those that begin, structure or end something; the markers of thinking are free unless `marker` is one. */
  private free(marker?: number): number {
    const { builder } = this;
    const { tokenizer, vocabSize } = this.options;
    const bound = new Set([...this.ends, marker, ...CALL_MARKERS.map((name) => tokenizer.controlId(name))]);
    const parts = [builder.anyToken()];
    for (let id = tokenizer.baseCount; id < vocabSize; id++)
      if (!bound.has(id)) parts.push(builder.token(id));
    return builder.repeat(builder.alt(...parts), 0, NO_LIMIT);
  }

  /** `answer` behind the thinking that may or must come first. `calls` may also cut thinking off, as K2 does. */
  private behindThinking(answer: number, calls: number): number {
    const { builder } = this;
    const { tokenizer, thinking } = this.options;
    const begin = tokenizer.controlId("<think>");
    const end = tokenizer.controlId("</think>");
    if (thinking === "over" || begin === undefined || end === undefined) return answer;
    const block = builder.seq(this.free(end), builder.alt(builder.seq(builder.token(end), answer), calls));
    return thinking === "open" ? block : builder.alt(builder.seq(builder.token(begin), block), answer);
  }

  /** The section of calls; no text where there is nothing to call. */
  private calls(): number {
    const { builder } = this;
    const { tokenizer, tools, isParallel } = this.options;
    const [sectionBegin, sectionEnd, callBegin, argumentsBegin, callEnd] = CALL_MARKERS.map((name) => {
      const id = tokenizer.controlId(name);
      return id === undefined ? builder.fail : builder.token(id);
    }) as [number, number, number, number, number];
    const targets = tools.map(({ name, parameters }) =>
      builder.seq(
        builder.literal(`${name}:`),
        builder.index(),
        argumentsBegin,
        this.imported(parameters),
        callEnd,
      ),
    );
    const call = builder.seq(callBegin, builder.literal("functions."), builder.alt(...targets));
    if (!isParallel) return builder.seq(sectionBegin, call, sectionEnd);
    const rule = builder.declareRule();
    builder.defineRule(rule, builder.seq(call, builder.alt(sectionEnd, builder.next(builder.rule(rule)))));
    return builder.seq(sectionBegin, builder.rule(rule));
  }

  private imported(program: GrammarProgram): number {
    const known = this.imports.indexOf(program);
    return this.builder.external(known === -1 ? this.imports.push(program) - 1 : known);
  }
}

/** The first begins a section of calls. */
export const CALL_MARKERS = [
  "<|tool_calls_section_begin|>",
  "<|tool_calls_section_end|>",
  "<|tool_call_begin|>",
  "<|tool_call_argument_begin|>",
  "<|tool_call_end|>",
] as const;
