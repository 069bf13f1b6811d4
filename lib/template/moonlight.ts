// The chat layout of Moonlight, K2's small forerunner: K2's heads without tools, names or thinking.

import { invalidArgument } from "../check";
import { type ChatTemplate, type RenderOptions, SegmentWriter } from "./chat-template";
import { type KimiControl, roleToken } from "./kimi-k2";
import { contentText, type Message } from "./message";
import type { Segment } from "./segments";

export class MoonlightTemplate implements ChatTemplate {
  readonly name = "moonlight";
  private readonly defaultSystem: string;

  constructor(defaultSystem: string) {
    this.defaultSystem = defaultSystem;
  }

  render(messages: readonly Message[], options: RenderOptions = {}): Segment[] {
    if (options.thinking === true) {
      throw invalidArgument("false or undefined (this model does not think)", "thinking", true);
    }
    if (options.tools !== undefined && options.tools.length > 0) {
      throw invalidArgument("no tools (Moonlight was not trained to call any)", "tools", options.tools);
    }
    if (options.keepReasoning === true) {
      throw invalidArgument("false or undefined (this model does not think)", "keepReasoning", true);
    }
    const writer = new SegmentWriter<KimiControl>();
    if (messages[0]?.role !== "system") {
      writer.control("<|im_system|>").template("system").control("<|im_middle|>");
      writer.template(this.defaultSystem).control("<|im_end|>");
    }
    messages.forEach((message, index) => {
      if (message.role === "tool" || (message.role === "assistant" && message.tool_calls !== undefined)) {
        const expected = "a message without tool calls (Moonlight was not trained to call tools)";
        throw invalidArgument(expected, `messages[${index}]`, message);
      }
      writer.control(roleToken(message.role)).template(message.role).control("<|im_middle|>");
      writer.content(contentText(message.content)).control("<|im_end|>");
    });
    if (options.addGenerationPrompt !== false) {
      writer.control("<|im_assistant|>").template("assistant").control("<|im_middle|>");
    }
    return writer.segments;
  }
}
