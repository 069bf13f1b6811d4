// A traced answer: its tokens as text, which of them the model wrote, and the experts of each.

import type { Chat, FinishPart, Model, ReportedToolCall, Routing, StreamPart } from "../../index";
import type { Turn } from "../turn";
import type { View } from "../view";

export interface Recording {
  /** The folder of the model. */
  readonly model: string;
  readonly prompt: string;
  /** Of the tokens that are shown. */
  readonly routing: Routing;
  /** Each token alone; the names of control tokens. */
  readonly texts: readonly string[];
  /** Whether the model wrote a token, or read it: prompt, results of tools. */
  readonly isWritten: readonly boolean[];
}

/** Passes everything on to a view, and remembers where on the timeline the answers stand. */
export class AnswerMarks implements View {
  private readonly view: View;
  private spans: { from: number; to: number }[] = [];

  constructor(view: View) {
    this.view = view;
  }

  /** Position of the first token that the model wrote; undefined where it wrote none. */
  get start(): number | undefined {
    return this.spans[0]?.from;
  }

  isWritten(position: number): boolean {
    return this.spans.some(({ from, to }) => position >= from && position < to);
  }

  begin(): void {
    this.view.begin();
  }

  part(part: StreamPart): void | Promise<void> {
    if (part.type === "finish") this.mark(part);
    return this.view.part(part);
  }

  result(call: ReportedToolCall, content: string): void {
    this.view.result(call, content);
  }

  end(turn: Turn): void {
    this.view.end(turn);
  }

  fail(): void {
    this.view.fail();
  }

  private mark({ usage: { promptTokens, completionTokens, cachedTokens } }: FinishPart): void {
    // What was laid out anew since then was read, even where the model had written it before.
    const kept = this.spans.map(({ from, to }) => ({ from, to: Math.min(to, cachedTokens) }));
    const span = { from: promptTokens, to: promptTokens + completionTokens };
    this.spans = [...kept, span].filter(({ from, to }) => to > from);
  }
}

/** @param from First position that is shown. */
export async function record(
  { model, chat, marks, prompt }: { model: Model; chat: Chat; marks: AnswerMarks; prompt: string },
  from: number,
): Promise<Recording> {
  const routing = await chat.routing({ from });
  const ids = [...routing.tokens];
  return {
    model: model.path,
    prompt,
    routing,
    texts: ids.map((id) => model.tokenizer.decode([id])),
    isWritten: ids.map((_, index) => marks.isWritten(from + index)),
  };
}

/** The ids that `layer` (its index in `routing.layers`) chose for a token. */
export function expertsOf(routing: Routing, token: number, layer: number): Uint16Array {
  return routing.experts.subarray(...rangeOf(routing, token, layer));
}

/** The weights of `expertsOf`. */
export function weightsOf(routing: Routing, token: number, layer: number): Float32Array {
  return routing.weights.subarray(...rangeOf(routing, token, layer));
}

function rangeOf({ layers, expertsPerToken }: Routing, token: number, layer: number): [number, number] {
  const first = (token * layers.length + layer) * expertsPerToken;
  return [first, first + expertsPerToken];
}
