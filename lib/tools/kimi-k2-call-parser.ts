// The parser of K2's output, a state machine over token ids:
//
//   reasoning --</think>--> text --section begin--> section --call begin--> id --argument begin--> arguments
//
// Any tool marker ends reasoning, every marker may be missing, and `<|im_end|>` ends everything. Nothing is buffered
// without need: arguments stream, and only white space and the spelled markers of spelled-markers.ts wait.

import type { CallParser, CallParserEvent, CallParserOptions, TokenDecoder } from "./call-parser";
import { type CallEnd, OpenCall } from "./open-call";
import { LeadingText, SectionText, TrailingText } from "./spelled-markers";

type State =
  | "reasoning"
  | "text"
  /** Between the markers of a section, outside a call. */
  | "section"
  /** Behind calls, before any other text. */
  | "after"
  | "id"
  | "arguments"
  | "ended";

type Marker =
  | "<think>"
  | "</think>"
  | "<|tool_calls_section_begin|>"
  | "<|tool_calls_section_end|>"
  | "<|tool_call_begin|>"
  | "<|tool_call_argument_begin|>"
  | "<|tool_call_end|>"
  | "end";

/** The control tokens that structure an answer, besides those that end it. */
export const MARKERS: readonly Exclude<Marker, "end">[] = [
  "<think>",
  "</think>",
  "<|tool_calls_section_begin|>",
  "<|tool_calls_section_end|>",
  "<|tool_call_begin|>",
  "<|tool_call_argument_begin|>",
  "<|tool_call_end|>",
];

export function createKimiK2CallParser(options: CallParserOptions): CallParser {
  return new KimiK2CallParser(options);
}

class KimiK2CallParser implements CallParser {
  private readonly options: CallParserOptions;
  private readonly decoder: TokenDecoder;
  private readonly markers = new Map<number, Marker>();
  private position: State;
  private events: CallParserEvent[] = [];
  private nextCall: number;
  private isInSection = false;
  private sectionHasCalls = false;
  private idText = "";
  private call: OpenCall | undefined;
  private readonly leading = new LeadingText();
  private readonly inside = new SectionText();
  private readonly trailing = new TrailingText();

  constructor(options: CallParserOptions) {
    this.options = options;
    this.decoder = options.tokenizer.createTextDecoder();
    this.position = options.startsThinking === true ? "reasoning" : "text";
    this.nextCall = options.firstCallIndex ?? 0;
    for (const id of options.endTokens ?? []) this.markers.set(id, "end");
    this.mark(options.tokenizer.controlId("<|im_end|>"), "end");
    for (const marker of MARKERS) this.mark(options.tokenizer.controlId(marker), marker);
  }

  get state(): CallParser["state"] {
    if (this.position === "id" || this.position === "arguments") return "call";
    if (this.position === "section" || this.position === "after") return "text";
    return this.position;
  }

  push(ids: number | Iterable<number>): readonly CallParserEvent[] {
    this.events = [];
    if (typeof ids === "number") this.take(ids);
    else for (const id of ids) this.take(id);
    return this.events;
  }

  private take(id: number): void {
    if (this.position === "ended") return;
    const marker = this.markers.get(id);
    if (marker !== undefined) {
      this.addText(this.decoder.flush());
      this.handle(marker);
    } else if (id < this.options.tokenizer.baseCount) {
      this.addText(this.decoder.push(id));
    }
  }

  finish(): readonly CallParserEvent[] {
    this.events = [];
    if (this.position === "ended") return this.events;
    this.addText(this.decoder.flush());
    this.endCall("tokens");
    this.endText();
    this.position = "ended";
    return this.events;
  }

  private handle(marker: Marker): void {
    switch (marker) {
      case "<think>":
      case "</think>":
        this.think(marker);
        return;
      case "<|tool_calls_section_begin|>":
        this.endCall("marker");
        this.endText();
        this.enterSection();
        return;
      case "<|tool_calls_section_end|>":
        this.endCall("marker");
        this.endText();
        this.position = "after";
        return;
      case "<|tool_call_begin|>":
        this.endCall("marker");
        this.beginId();
        return;
      case "<|tool_call_argument_begin|>":
        this.beginArguments();
        return;
      case "<|tool_call_end|>":
        if (this.position === "id") this.beginArguments();
        if (this.position === "arguments") this.endCall("marker");
        else if (this.position === "reasoning") this.endText();
        return;
      case "end":
        this.endCall("turn");
        this.endText();
        this.position = "ended";
    }
  }

  private think(marker: "<think>" | "</think>"): void {
    // Inside a JSON string the model may well write these tags, and there they can only be meant as text.
    if (this.position === "arguments") this.addText(marker);
    else if (this.position === "id") return;
    else if (marker === "</think>") {
      if (this.position === "reasoning") this.endText();
    } else if (this.position !== "reasoning") {
      this.endText();
      this.position = "reasoning";
    }
  }

  private addText(text: string): void {
    if (text === "") return;
    switch (this.position) {
      case "reasoning":
      case "text":
        this.emitText(this.leading.push(text));
        return;
      case "after":
        this.leaveAfter(this.trailing.push(text));
        return;
      case "section": {
        const rest = this.inside.push(text);
        if (rest === undefined) return;
        this.endText();
        this.position = "after";
        this.addText(rest);
        return;
      }
      case "id":
        this.idText += text;
        return;
      case "arguments":
        this.events.push(...this.call!.push(text));
    }
  }

  private emitText(text: string): void {
    if (text === "") return;
    this.events.push({ type: this.position === "reasoning" ? "reasoning-delta" : "text-delta", text });
  }

  private leaveAfter(text: string): void {
    if (text === "") return;
    this.position = "text";
    this.addText(text);
  }

  /** Ends whatever text runs, so that nothing is held back; the state becomes "text". */
  private endText(): void {
    if (this.position === "section") {
      const text = this.inside.take();
      this.position = "text";
      this.isInSection = false;
      if (!this.sectionHasCalls && text.trim() !== "") this.emitText(text);
    } else {
      this.leaveAfter(this.trailing.take());
      this.emitText(this.leading.take().text);
      this.position = "text";
    }
  }

  private enterSection(): void {
    this.position = "section";
    this.isInSection = true;
    this.sectionHasCalls = false;
  }

  private beginId(): void {
    if (this.position === "section") {
      this.inside.take();
    } else {
      this.leaveAfter(this.trailing.take());
      const { text, isMarker } = this.leading.take();
      if (isMarker) this.isInSection = true;
      else this.emitText(text);
    }
    this.sectionHasCalls = true;
    this.idText = "";
    this.position = "id";
  }

  private beginArguments(): void {
    if (this.position === "arguments") return;
    if (this.position !== "id") {
      // The marker of the call is missing: in a section the id stands there all the same.
      const idText = this.position === "section" ? this.inside.take() : "";
      this.beginId();
      this.idText = idText;
    }
    this.openCall();
    this.position = "arguments";
  }

  private openCall(): void {
    this.call = new OpenCall(this.idText, this.nextCall, this.options.tools);
    this.nextCall += 1;
    this.events.push(...this.call.begin());
  }

  /** Ends the call that is open, if one is: by another marker, by the end of the turn, or by the end of the tokens. */
  private endCall(cause: "marker" | "turn" | "tokens"): void {
    let end: CallEnd;
    if (this.position === "arguments") {
      end = cause === "tokens" ? "cut" : "closed";
    } else if (this.position === "id") {
      end = cause === "marker" ? "interrupted" : "cut";
      // A marker with nothing behind it says nothing that could be reported.
      if (this.idText.trim() !== "") this.openCall();
    } else {
      return;
    }
    if (this.call !== undefined) this.events.push(...this.call.finish(end));
    this.call = undefined;
    this.position = this.isInSection ? "section" : "after";
  }

  private mark(id: number | undefined, marker: Marker): void {
    if (id !== undefined) this.markers.set(id, marker);
  }
}
