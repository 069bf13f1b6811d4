// The chat layouts of DeepSeek: V3 and R1, which share one, and V3.1. The conversation follows the system text without
// heads; only user and assistant turns have tokens of their own, and results of tools stand between an assistant turn
// and its continuation. The published templates declare no tools, and no revision repeats reasoning.

import { invalidArgument } from "../check";
import { type ChatTemplate, type RenderOptions, SegmentWriter } from "./chat-template";
import { type AssistantMessage, contentText, type Message, type ToolMessage } from "./message";
import { withReasoningApart } from "./reasoning";
import type { Segment } from "./segments";

type DeepSeekControl =
  | "<｜begin▁of▁sentence｜>"
  | "<｜end▁of▁sentence｜>"
  | "<｜User｜>"
  | "<｜Assistant｜>"
  | "<｜tool▁calls▁begin｜>"
  | "<｜tool▁calls▁end｜>"
  | "<｜tool▁call▁begin｜>"
  | "<｜tool▁call▁end｜>"
  | "<｜tool▁outputs▁begin｜>"
  | "<｜tool▁outputs▁end｜>"
  | "<｜tool▁output▁begin｜>"
  | "<｜tool▁output▁end｜>"
  | "<｜tool▁sep｜>"
  | "<think>"
  | "</think>";

type Writer = SegmentWriter<DeepSeekControl>;

export interface DeepSeekLayout {
  name: "deepseek-v3" | "deepseek-r1" | "deepseek-v3.1";
  /**
   * Where `<｜Assistant｜>` stands: "after-user" behind every user message (V3-0324, R1-0528 and V3.1), or
   * "before-answer" in front of every assistant message that does not continue the results of tools (the first V3 and R1).
   */
  assistantHead: "after-user" | "before-answer";
  /** A line break between the results of one turn; not of V3.1. */
  breaksBetweenResults: boolean;
  /** R1 only: the prompt opens the thinking block. R1-0528 opens it itself. */
  opensBlock: boolean;
}

export class DeepSeekTemplate implements ChatTemplate {
  readonly name: string;
  private readonly layout: DeepSeekLayout;

  constructor(layout: DeepSeekLayout) {
    this.name = layout.name;
    this.layout = layout;
  }

  render(messages: readonly Message[], options: RenderOptions = {}): Segment[] {
    this.checkOptions(options);
    const writer: Writer = new SegmentWriter();
    const isV31 = this.layout.name === "deepseek-v3.1";
    writer.control("<｜begin▁of▁sentence｜>");
    messages
      .filter((message) => message.role === "system")
      .forEach((message, index) => {
        if (index > 0) writer.template("\n\n");
        writer.content(contentText(message.content));
      });

    const turns = messages.filter((message) => message.role !== "system");
    turns.forEach((message, index) => {
      const previous = turns[index - 1];
      if (message.role === "user") {
        writer.control("<｜User｜>").content(contentText(message.content));
        // V3.1 decides behind the head whether the block is open, so the head is written with what follows.
        if (!isV31 && this.layout.assistantHead === "after-user") writer.control("<｜Assistant｜>");
      } else if (message.role === "assistant") {
        this.writeAssistant(writer, message, previous);
      } else if (isV31) {
        writer.control("<｜tool▁output▁begin｜>").content(contentText(message.content));
        writer.control("<｜tool▁output▁end｜>");
      } else {
        this.writeResult(writer, message, previous, turns[index + 1]);
      }
    });
    if (options.addGenerationPrompt !== false) this.writeGenerationPrompt(writer, turns.at(-1), options);
    return writer.segments;
  }

  private checkOptions({ tools, thinking, keepReasoning }: RenderOptions): void {
    const { name } = this.layout;
    if (tools !== undefined && tools.length > 0) {
      throw invalidArgument("no tools (DeepSeek's template declares none)", "tools", tools);
    }
    if (keepReasoning === true) {
      const expected = "false or undefined (DeepSeek's template never repeats reasoning)";
      throw invalidArgument(expected, "keepReasoning", true);
    }
    if (name === "deepseek-v3" && thinking === true) {
      throw invalidArgument("false or undefined (this model does not think)", "thinking", true);
    }
    if (name === "deepseek-r1" && thinking === false) {
      throw invalidArgument("true or undefined (this model always thinks)", "thinking", false);
    }
  }

  private writeAssistant(writer: Writer, message: AssistantMessage, previous: Message | undefined): void {
    const isV31 = this.layout.name === "deepseek-v3.1";
    const followsUser = previous?.role === "user";
    const continuesResults = previous?.role === "tool" && message.tool_calls === undefined;
    if (isV31) {
      if (followsUser) writer.control("<｜Assistant｜>").control("</think>");
    } else if (this.layout.assistantHead === "before-answer" && !continuesResults) {
      writer.control("<｜Assistant｜>");
    }
    writer.content(this.answerOf(message));
    if (message.tool_calls !== undefined) this.writeCalls(writer, message.tool_calls);
    writer.control("<｜end▁of▁sentence｜>");
  }

  private answerOf(message: AssistantMessage): string {
    // V3 does not think: tags in its answers are part of them.
    if (this.layout.name === "deepseek-v3") return contentText(message.content);
    return withReasoningApart(message, true).content;
  }

  private writeCalls(writer: Writer, calls: NonNullable<AssistantMessage["tool_calls"]>): void {
    writer.control("<｜tool▁calls▁begin｜>");
    calls.forEach((call, index) => {
      const { name, arguments: json } = call.function;
      if (this.layout.name === "deepseek-v3.1") {
        writer.control("<｜tool▁call▁begin｜>").content(name).control("<｜tool▁sep｜>").content(json);
      } else {
        if (index > 0) writer.template("\n");
        writer.control("<｜tool▁call▁begin｜>").template("function").control("<｜tool▁sep｜>");
        writer.content(name).template("\n```json\n").content(json).template("\n```");
      }
      writer.control("<｜tool▁call▁end｜>");
    });
    writer.control("<｜tool▁calls▁end｜>");
  }

  /** Results stand in one frame, which ends where the assistant goes on. */
  private writeResult(
    writer: Writer,
    message: ToolMessage,
    previous: Message | undefined,
    next: Message | undefined,
  ): void {
    if (previous?.role !== "tool") writer.control("<｜tool▁outputs▁begin｜>");
    else if (this.layout.breaksBetweenResults) writer.template("\n");
    writer.control("<｜tool▁output▁begin｜>").content(contentText(message.content));
    writer.control("<｜tool▁output▁end｜>");
    if (next === undefined || next.role === "assistant") writer.control("<｜tool▁outputs▁end｜>");
  }

  /** Behind results the model simply goes on. */
  private writeGenerationPrompt(
    writer: Writer,
    last: Message | undefined,
    { thinking }: RenderOptions,
  ): void {
    if (last?.role === "tool") return;
    if (this.layout.name === "deepseek-v3.1") {
      if (last?.role !== "user") return;
      writer.control("<｜Assistant｜>").control(thinking === true ? "<think>" : "</think>");
      return;
    }
    const isWritten = this.layout.assistantHead === "after-user" && last?.role === "user";
    if (!isWritten) writer.control("<｜Assistant｜>");
    if (this.layout.opensBlock) writer.control("<think>").template("\n");
  }
}
