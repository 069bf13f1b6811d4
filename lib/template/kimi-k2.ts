// The chat layout of Kimi K2 Instruct and K2 Thinking. A message is ROLE name MIDDLE body END with nothing between
// messages; both models share everything but the thinking block and the spelling of the tool declarations.

import { invalidArgument } from "../check";
import { type ChatTemplate, type RenderOptions, SegmentWriter } from "./chat-template";
import { type JsonStyle, type JsonValue, pythonJson } from "./json";
import { type AssistantMessage, contentText, type Message } from "./message";
import type { ControlName, Segment } from "./segments";
import type { ToolDefinition } from "./tool-definition";

export interface KimiK2Layout {
  name: string;
  /** Renders a thinking block in every assistant turn. */
  thinks: boolean;
  /** Stands behind the tools where the conversation does not begin with a system message. */
  defaultSystem: string;
  toolSeparators: "compact" | "spaced";
}

/** The role token of a head; everything that is neither user nor assistant speaks as the system. */
export function roleToken(role: Message["role"]): ControlName {
  if (role === "user") return "<|im_user|>";
  return role === "assistant" ? "<|im_assistant|>" : "<|im_system|>";
}

export class KimiK2Template implements ChatTemplate {
  readonly name: string;
  private readonly layout: KimiK2Layout;
  private readonly toolStyle: JsonStyle;

  constructor(layout: KimiK2Layout) {
    this.name = layout.name;
    this.layout = layout;
    const isCompact = layout.toolSeparators === "compact";
    this.toolStyle = {
      itemSeparator: isCompact ? "," : ", ",
      keySeparator: isCompact ? ":" : ": ",
      sortKeys: true,
    };
  }

  render(messages: readonly Message[], options: RenderOptions = {}): Segment[] {
    const { thinks, defaultSystem } = this.layout;
    if (options.thinking === true && !thinks) {
      throw invalidArgument("false or undefined (this model does not think)", "thinking", true);
    }
    const writer = new SegmentWriter();
    if (options.tools !== undefined && options.tools.length > 0) this.writeTools(writer, options.tools);
    if (messages[0]?.role !== "system") {
      writer.control("<|im_system|>").template("system").control("<|im_middle|>");
      writer.template(defaultSystem).control("<|im_end|>");
    }
    const lastAnswer = messages.findLastIndex(isAnswer);
    messages.forEach((message, index) => {
      this.writeMessage(writer, message, index > lastAnswer);
    });
    if (options.addGenerationPrompt !== false) {
      writer.control("<|im_assistant|>").template("assistant").control("<|im_middle|>");
      // K2 Thinking opens its block itself. A closed, empty block is what its own history shows for turns without
      // reasoning, and so how thinking is switched off.
      if (thinks && options.thinking === false) writer.control("<think>").control("</think>");
    }
    return writer.segments;
  }

  opensThinking(): boolean {
    return false;
  }

  private writeTools(writer: SegmentWriter, tools: readonly ToolDefinition[]): void {
    writer.control("<|im_system|>").template("tool_declare").control("<|im_middle|>");
    writer.content(pythonJson(tools as unknown as JsonValue, this.toolStyle)).control("<|im_end|>");
  }

  private writeMessage(writer: SegmentWriter, message: Message, keepsReasoning: boolean): void {
    writer
      .control(roleToken(message.role))
      .content(message.name || message.role)
      .control("<|im_middle|>");
    if (message.role === "assistant") {
      this.writeAssistantBody(writer, message, keepsReasoning);
    } else {
      if (message.role === "tool") {
        writer.template("## Return of ").content(message.tool_call_id).template("\n");
      }
      writer.content(contentText(message.content));
    }
    writer.control("<|im_end|>");
  }

  /** K2 keeps the reasoning of the task at hand and drops that of turns before its last plain answer. */
  private writeAssistantBody(
    writer: SegmentWriter,
    message: AssistantMessage,
    keepsReasoning: boolean,
  ): void {
    if (this.layout.thinks) {
      const reasoning = keepsReasoning ? (message.reasoning_content ?? "") : "";
      writer.control("<think>").content(reasoning).control("</think>");
    }
    writer.content(contentText(message.content));
    if (message.tool_calls === undefined) return;
    writer.control("<|tool_calls_section_begin|>");
    for (const call of message.tool_calls) {
      writer.control("<|tool_call_begin|>").content(call.id);
      writer.control("<|tool_call_argument_begin|>").content(call.function.arguments);
      writer.control("<|tool_call_end|>");
    }
    writer.control("<|tool_calls_section_end|>");
  }
}

/** An assistant message that ends a task: one without calls. */
function isAnswer(message: Message): boolean {
  return message.role === "assistant" && message.tool_calls === undefined;
}
