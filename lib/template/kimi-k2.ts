// The chat layout of Kimi K2: Instruct, Thinking, and the text part of K2.5 and K2.6. A message is ROLE name MIDDLE body
// END with nothing between messages; the models differ in the thinking block, the default system prompt, and how tools
// are declared.

import { invalidArgument } from "../check";
import { type ChatTemplate, type RenderOptions, SegmentWriter } from "./chat-template";
import { type JsonValue, pythonJson } from "./json";
import { type AssistantMessage, contentText, type Message } from "./message";
import { withReasoningApart } from "./reasoning";
import type { Segment } from "./segments";
import type { ToolDefinition } from "./tool-definition";

/** The control tokens of the Kimi family. */
export type KimiControl =
  | "<|im_system|>"
  | "<|im_user|>"
  | "<|im_assistant|>"
  | "<|im_middle|>"
  | "<|im_end|>"
  | "<|tool_calls_section_begin|>"
  | "<|tool_calls_section_end|>"
  | "<|tool_call_begin|>"
  | "<|tool_call_argument_begin|>"
  | "<|tool_call_end|>"
  | "<think>"
  | "</think>";

export interface KimiK2Layout {
  name: string;
  /**
   * "never" renders no thinking blocks. The others render one in every assistant turn; who opens that of the answer is
   * the model itself or the prompt.
   */
  thinking: "never" | "model-opens" | "prompt-opens";
  /** Stands behind the tools where the conversation does not begin with a system message. */
  defaultSystem: string | undefined;
  /** The body of the message that declares tools. */
  writeTools(tools: readonly ToolDefinition[]): string;
}

/** The role token of a head; everything that is neither user nor assistant speaks as the system. */
export function roleToken(role: Message["role"]): KimiControl {
  if (role === "user") return "<|im_user|>";
  return role === "assistant" ? "<|im_assistant|>" : "<|im_system|>";
}

/** Tools as a JSON array with sorted keys, as Instruct and Thinking declare them. */
export function jsonTools(separators: "compact" | "spaced"): KimiK2Layout["writeTools"] {
  const isCompact = separators === "compact";
  const style = {
    itemSeparator: isCompact ? "," : ", ",
    keySeparator: isCompact ? ":" : ": ",
    sortKeys: true,
  };
  return (tools) => pythonJson(tools as unknown as JsonValue, style);
}

export class KimiK2Template implements ChatTemplate {
  readonly name: string;
  private readonly layout: KimiK2Layout;
  /** Texts of lists that were declared before: a chat declares the same list in every prompt. */
  private readonly declared = new WeakMap<readonly ToolDefinition[], string>();

  constructor(layout: KimiK2Layout) {
    this.name = layout.name;
    this.layout = layout;
  }

  /** @param options The list of tools must not change afterwards. */
  render(messages: readonly Message[], options: RenderOptions = {}): Segment[] {
    const { thinking, defaultSystem } = this.layout;
    if (options.thinking === true && thinking === "never") {
      throw invalidArgument("false or undefined (this model does not think)", "thinking", true);
    }
    const writer = new SegmentWriter<KimiControl>();
    if (options.tools !== undefined && options.tools.length > 0) {
      writer.control("<|im_system|>").template("tool_declare").control("<|im_middle|>");
      writer.content(this.declare(options.tools)).control("<|im_end|>");
    }
    if (defaultSystem !== undefined && messages[0]?.role !== "system") {
      writer.control("<|im_system|>").template("system").control("<|im_middle|>");
      writer.template(defaultSystem).control("<|im_end|>");
    }
    const firstKept = this.firstKeptReasoning(messages, options);
    messages.forEach((message, index) => {
      this.writeMessage(writer, message, index >= firstKept);
    });
    if (options.addGenerationPrompt !== false) {
      writer.control("<|im_assistant|>").template("assistant").control("<|im_middle|>");
      this.openBlock(writer, options.thinking);
    }
    return writer.segments;
  }

  private declare(tools: readonly ToolDefinition[]): string {
    let text = this.declared.get(tools);
    if (text === undefined) {
      text = this.layout.writeTools(tools);
      this.declared.set(tools, text);
    }
    return text;
  }

  /** The block of the answer to come. An empty, closed one is what history shows of turns without reasoning. */
  private openBlock(writer: SegmentWriter<KimiControl>, thinking: boolean | undefined): void {
    const { thinking: mode } = this.layout;
    if (mode === "never") return;
    if (thinking === false) writer.control("<think>").control("</think>");
    else if (mode === "prompt-opens") writer.control("<think>");
  }

  /** K2 keeps the reasoning of the task at hand and drops that of turns before its last plain answer. */
  private firstKeptReasoning(messages: readonly Message[], options: RenderOptions): number {
    if (options.keepReasoning === true) return 0;
    // K2.5's instant mode shows no reasoning at all; K2 Thinking's template knows no such mode.
    if (options.thinking === false && this.layout.thinking === "prompt-opens") return messages.length;
    return messages.findLastIndex(isAnswer) + 1;
  }

  private writeMessage(writer: SegmentWriter<KimiControl>, message: Message, keepsReasoning: boolean): void {
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

  private writeAssistantBody(
    writer: SegmentWriter<KimiControl>,
    message: AssistantMessage,
    keepsReasoning: boolean,
  ): void {
    const { thinking } = this.layout;
    if (thinking === "never") {
      writer.content(contentText(message.content));
    } else {
      const { reasoning, content } = withReasoningApart(message, thinking === "prompt-opens");
      writer
        .control("<think>")
        .content(keepsReasoning ? reasoning : "")
        .control("</think>")
        .content(content);
    }
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
