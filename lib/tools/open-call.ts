// One call while the model writes it: its name, its arguments as they stream, and in the end its verdict.

import type { ToolDefinition } from "../template/tool-definition";
import { type CallId, nameOfCall, readCallId, toolOfArguments, writeCallId } from "./call-id";
import type { CallParserEvent, InvalidCall } from "./call-parser";
import { checkCall, parseArguments } from "./validate";

/** Stands for the name of a call whose id is empty. */
const NAMELESS = "unknown";

/** How a call ended. */
export type CallEnd =
  /** The model ended it, with or without the marker. */
  | "closed"
  /** Another marker came before its arguments began. */
  | "interrupted"
  /** Generation or the turn ended inside it. */
  | "cut";

export class OpenCall {
  private readonly idText: string;
  private readonly index: number;
  private readonly tools: readonly ToolDefinition[] | undefined;
  private readonly callId: CallId;
  private readonly pieces: string[] = [];
  /** White space that is dropped if the arguments end behind it. */
  private space = "";
  /** undefined as long as only the arguments can tell. */
  private name: string | undefined;
  private isMalformed = false;

  constructor(idText: string, index: number, tools: readonly ToolDefinition[] | undefined) {
    this.idText = idText.trim();
    this.index = index;
    this.tools = tools;
    this.callId = readCallId(idText);
    this.name = nameOfCall(this.callId, tools);
    const isHopeless = this.name === undefined && (tools === undefined || tools.length === 0);
    if (isHopeless || this.name === "") this.giveUpName();
  }

  /** The start event, if the name is known. */
  begin(): CallParserEvent[] {
    return this.name === undefined ? [] : [this.start(this.name)];
  }

  /** More argument text; white space at both ends is dropped. */
  push(text: string): CallParserEvent[] {
    const body = this.pieces.length === 0 ? text.trimStart() : text;
    const trimmed = body.trimEnd();
    if (trimmed === "") {
      if (this.pieces.length > 0) this.space += body;
      return [];
    }
    const piece = this.space + trimmed;
    this.space = body.slice(trimmed.length);
    this.pieces.push(piece);
    return this.name === undefined ? [] : [this.delta(this.name, piece)];
  }

  /** The last events. Missing arguments of a closed call are reported as `{}`. */
  finish(end: CallEnd): CallParserEvent[] {
    const events: CallParserEvent[] = [];
    if (end === "closed" && this.pieces.length === 0) events.push(...this.push("{}"));
    const text = this.pieces.join("");
    if (this.name === undefined) {
      this.findNameByArguments(text);
      events.push(this.start(this.name!));
      if (text !== "") events.push(this.delta(this.name!, text));
    }
    const name = this.name!;
    const id = writeCallId(name, this.index);
    const invalid = this.verdict(name, text, end);
    events.push({
      type: "tool-call-end",
      id,
      toolCall: {
        id,
        type: "function",
        function: { name, arguments: text },
        ...(invalid === undefined ? {} : { invalid }),
      },
    });
    return events;
  }

  private verdict(name: string, text: string, end: CallEnd): InvalidCall | undefined {
    if (end === "cut") {
      return {
        reason: "incomplete",
        message: `Expected a complete call of ${JSON.stringify(name)}, got one that was cut off`,
      };
    }
    if (this.isMalformed || end === "interrupted") {
      const got =
        end === "interrupted"
          ? "another marker before the arguments"
          : JSON.stringify(this.idText.slice(0, 200));
      return {
        reason: "malformed-id",
        message: `Expected functions.NAME:INDEX for the id of a tool call, got ${got}`,
      };
    }
    return checkCall(name, text, this.tools);
  }

  private findNameByArguments(text: string): void {
    const parsed = parseArguments(text);
    const tool = "value" in parsed ? toolOfArguments(parsed.value, this.tools ?? []) : undefined;
    if (tool === undefined) this.giveUpName();
    else this.name = tool.function.name;
  }

  private giveUpName(): void {
    this.name = this.callId.name || NAMELESS;
    this.isMalformed = true;
  }

  private start(name: string): CallParserEvent {
    return { type: "tool-call-start", id: writeCallId(name, this.index), name };
  }

  private delta(name: string, text: string): CallParserEvent {
    return { type: "tool-call-delta", id: writeCallId(name, this.index), text };
  }
}
