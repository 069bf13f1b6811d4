// Any other checkpoint's chat layout: its own chat_template.jinja, run on placeholders instead of content
// (placeholders.ts). A template that does more with content than pass it on would need the content itself, and is refused.

import { invalidArgument } from "../check";
import { K2Error } from "../errors";
import type { ChatTemplate, RenderOptions } from "./chat-template";
import { compileJinja, type JinjaProgram } from "./jinja-runtime";
import type { JsonValue } from "./json";
import { contentText, type Message } from "./message";
import {
  agreedPieces,
  Contents,
  escaped,
  type Form,
  type Piece,
  Placeholders,
  staysLiteral,
} from "./placeholders";
import { withReasoningApart } from "./reasoning";
import type { Segment } from "./segments";
import { typescriptTools } from "./typescript-tools";

const FILE = "chat_template.jinja";

export interface JinjaFacts {
  text: string;
  /** All control tokens that the tokenizer declares. */
  controlNames: readonly string[];
  /** `bos_token` and its like. */
  specialTokens: Readonly<Record<string, string>>;
}

export class JinjaTemplate implements ChatTemplate {
  readonly name = "jinja";
  private readonly facts: JinjaFacts;
  private readonly controls: RegExp | undefined;
  private program: JinjaProgram | undefined;

  constructor(facts: JinjaFacts) {
    this.facts = facts;
    // Names with white space are left out: content keeps the white space at its ends, and must not complete one.
    const names = facts.controlNames.filter((name) => name !== "" && !/\s/.test(name));
    names.sort((a, b) => b.length - a.length);
    if (names.length > 0) this.controls = new RegExp(names.map(escapeRegExp).join("|"), "gu");
  }

  render(messages: readonly Message[], options: RenderOptions = {}): Segment[] {
    this.checkOptions(options);
    this.program ??= compileJinja(this.facts.text, FILE);
    const contents = new Contents();
    const pieces = agreedPieces(
      this.run(contents, "plain", messages, options),
      this.run(contents, "quoted", messages, options),
    );
    if (pieces === undefined) {
      throw unsupported(
        "a template that passes content on as it is",
        "one that cuts, changes or compares it",
      );
    }
    this.checkComplete(pieces, contents, messages, options);
    return pieces.flatMap((piece) => this.segmentsOf(piece, contents));
  }

  private checkOptions({ tools, thinking, keepReasoning }: RenderOptions): void {
    const { text } = this.facts;
    const lacks = (pattern: RegExp, name: string, value: unknown) => {
      if (value !== undefined && !pattern.test(text)) {
        throw invalidArgument(`nothing (the checkpoint's ${FILE} has no such switch)`, name, value);
      }
    };
    lacks(/\b(enable_)?thinking\b/, "thinking", thinking);
    // false is what every template does that has no switch for it.
    if (keepReasoning === true) lacks(/\bpreserve_thinking\b/, "keepReasoning", keepReasoning);
    if (tools !== undefined && tools.length > 0 && /\b(sort_keys|dictsort)\b/.test(text)) {
      throw invalidArgument(`no tools (the checkpoint's ${FILE} sorts them by content)`, "tools", tools);
    }
  }

  private run(
    contents: Contents,
    form: Form,
    messages: readonly Message[],
    { tools, thinking, keepReasoning, addGenerationPrompt }: RenderOptions,
  ): Piece[] {
    const placeholders = new Placeholders(contents, form);
    const hasTools = tools !== undefined && tools.length > 0;
    const variables: Record<string, unknown> = {
      ...this.facts.specialTokens,
      // Absent ones are none, as transformers passes them, and not undefined.
      tools: null,
      documents: null,
      messages: messages.map((message) => this.variablesOf(message, placeholders)),
      add_generation_prompt: addGenerationPrompt !== false,
      thinking,
      enable_thinking: thinking,
      preserve_thinking: keepReasoning,
    };
    if (hasTools) {
      variables.tools = placeholders.writeJson(tools as unknown as JsonValue);
      // The relatives of K2.5 take their tools as one finished text.
      const typescript = this.facts.text.includes("tools_ts_str") ? typescriptTools(tools) : undefined;
      if (typescript !== undefined) variables.tools_ts_str = placeholders.write(typescript);
    }
    const items = messages.length + (tools?.length ?? 0);
    return placeholders.split(this.program!.render(variables, items));
  }

  private variablesOf(message: Message, placeholders: Placeholders): Record<string, unknown> {
    const { role, name } = message;
    const write = (text: string) => placeholders.write(text);
    const speaker = name === undefined || name === "" ? {} : { name: write(name) };
    if (role === "tool") {
      const content = write(contentText(message.content));
      return { role, ...speaker, tool_call_id: write(message.tool_call_id), content };
    }
    if (role !== "assistant") return { role, ...speaker, content: write(contentText(message.content)) };
    const { reasoning, content } = withReasoningApart(message, false);
    const result: Record<string, unknown> = { role, ...speaker };
    result.content = message.content === null ? null : write(content);
    if (reasoning !== "") result.reasoning_content = write(reasoning);
    if (message.tool_calls !== undefined) {
      result.tool_calls = message.tool_calls.map((call) => ({
        id: write(call.id),
        type: "function",
        function: {
          name: write(call.function.name),
          arguments: this.argumentsOf(call.function.arguments, placeholders),
        },
      }));
    }
    return result;
  }

  /** Text, as it came, save for templates that go through the arguments one by one. */
  private argumentsOf(json: string, placeholders: Placeholders): unknown {
    const wantsObject = /arguments\s*\|\s*items|arguments\.items\(/.test(this.facts.text);
    if (!wantsObject) return placeholders.write(json);
    try {
      const value = JSON.parse(json) as unknown;
      if (typeof value === "object" && value !== null) return placeholders.writeJson(value as JsonValue);
    } catch {
      // Text that is no JSON stays text.
    }
    return placeholders.write(json);
  }

  /** What a user, a system prompt or a tool says must be in the prompt, and tools must be declared. */
  private checkComplete(
    pieces: readonly Piece[],
    contents: Contents,
    messages: readonly Message[],
    { tools = [] }: RenderOptions,
  ): void {
    const present = new Set<string>();
    for (const piece of pieces) if ("content" in piece) present.add(contents.texts[piece.content]!);
    const isMissing = (text: string) => text.trim() !== "" && !present.has(text.trim());
    messages.forEach((message, index) => {
      if (message.role === "assistant" || !isMissing(contentText(message.content))) return;
      const what = `one that leaves out messages[${index}] (role ${message.role})`;
      throw unsupported("a template that shows every message", what);
    });
    const isUndeclared = (name: string) =>
      isMissing(name) && !staysLiteral(name) && !this.facts.text.includes("tools_ts_str");
    if (tools.length > 0 && tools.every((tool) => isUndeclared(tool.function.name))) {
      throw invalidArgument(`no tools (the checkpoint's ${FILE} does not declare them)`, "tools", tools);
    }
  }

  private segmentsOf(piece: Piece, contents: Contents): Segment[] {
    if ("content" in piece) {
      return [{ kind: "content", text: escaped(contents.texts[piece.content]!, piece) }];
    }
    if (this.controls === undefined) return [{ kind: "template", text: piece.text }];
    const segments: Segment[] = [];
    let end = 0;
    for (const { 0: name, index } of piece.text.matchAll(this.controls)) {
      if (index > end) segments.push({ kind: "template", text: piece.text.slice(end, index) });
      segments.push({ kind: "control", name });
      end = index + name.length;
    }
    if (end < piece.text.length) segments.push({ kind: "template", text: piece.text.slice(end) });
    return segments;
  }
}

function escapeRegExp(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/-]/g, "\\$&");
}

function unsupported(expected: string, got: string): K2Error {
  return new K2Error("unsupported-checkpoint", `Expected ${expected} for ${FILE}, got ${got}`, {
    file: FILE,
    expected,
    got,
  });
}
