// Which chat layout a checkpoint speaks. The template text that it ships decides, where there is one: it tells the
// family, the default system prompt and how tools are spelled. Without it the declared control tokens decide.

import { K2Error } from "../errors";
import type { ChatTemplate } from "./chat-template";
import { jsonTools, type KimiControl, KimiK2Template } from "./kimi-k2";
import { createKimiK25Template } from "./kimi-k25";
import { MoonlightTemplate } from "./moonlight";
import type { PromptTokenizer } from "./segments";

/** What a checkpoint says about its chat layout. */
export interface TemplateFacts {
  tokenizer: Pick<PromptTokenizer, "controlId">;
  /** chat_template.jinja, or `chat_template` of tokenizer_config.json. */
  chatTemplate?: string | undefined;
  /** The outermost `model_type` of config.json. */
  modelType?: string | undefined;
}

const KIMI_SYSTEM = "You are Kimi, an AI assistant created by Moonshot AI.";
const PLAIN_SYSTEM = "You are a helpful assistant";
const MESSAGE_TOKENS: readonly KimiControl[] = [
  "<|im_system|>",
  "<|im_user|>",
  "<|im_assistant|>",
  "<|im_middle|>",
  "<|im_end|>",
];
const THINK_TOKENS: readonly KimiControl[] = ["<think>", "</think>"];
const SYSTEM_HEAD = "<|im_system|>system<|im_middle|>";
const MESSAGE_END = "<|im_end|>";

/** @throws K2Error `unsupported-checkpoint` for a layout that this build does not know. */
export function chooseTemplate(facts: TemplateFacts): ChatTemplate {
  requireTokens(facts, MESSAGE_TOKENS);
  const text = facts.chatTemplate;
  if (text === undefined) return chooseByTokens(facts);

  if (!text.includes("<|im_middle|>")) throw unsupported("a chat template of the Kimi family", "another one");
  if (text.includes("tools_ts_str")) {
    requireTokens(facts, THINK_TOKENS);
    // K2.5 and K2.6 can be switched to instant mode. A relative that cannot (K2.7 Code) has rules of its own.
    if (text.includes("thinking is false")) return createKimiK25Template();
    throw unsupported("the chat template of K2.5 or K2.6", "that of a relative");
  }
  const defaultSystem = defaultSystemOf(text);
  if (text.includes("<think>")) {
    requireTokens(facts, THINK_TOKENS);
    return new KimiK2Template({
      name: "kimi-k2-thinking",
      thinking: "model-opens",
      defaultSystem: defaultSystem ?? KIMI_SYSTEM,
      writeTools: jsonTools(toolSeparatorsOf(text) ?? "compact"),
    });
  }
  if (!text.includes("<|tool_calls_section_begin|>")) {
    return new MoonlightTemplate(defaultSystem ?? PLAIN_SYSTEM);
  }
  return new KimiK2Template({
    name: "kimi-k2-instruct",
    thinking: "never",
    defaultSystem: defaultSystem ?? KIMI_SYSTEM,
    writeTools: jsonTools(toolSeparatorsOf(text) ?? "compact"),
  });
}

/** The current revisions of the published templates: both K2 models name Kimi and write compact JSON. */
function chooseByTokens({ tokenizer, modelType }: TemplateFacts): ChatTemplate {
  if (modelType === "kimi_k25") {
    requireTokens({ tokenizer }, THINK_TOKENS);
    return createKimiK25Template();
  }
  const thinks = THINK_TOKENS.every((token) => tokenizer.controlId(token) !== undefined);
  if (!thinks && tokenizer.controlId("<|tool_calls_section_begin|>") === undefined) {
    return new MoonlightTemplate(PLAIN_SYSTEM);
  }
  return new KimiK2Template({
    name: thinks ? "kimi-k2-thinking" : "kimi-k2-instruct",
    thinking: thinks ? "model-opens" : "never",
    defaultSystem: KIMI_SYSTEM,
    writeTools: jsonTools("compact"),
  });
}

/** The literal text of the system message that the template inserts by itself, if it stands there in one piece. */
function defaultSystemOf(template: string): string | undefined {
  const head = template.indexOf(SYSTEM_HEAD);
  if (head !== -1) {
    const start = head + SYSTEM_HEAD.length;
    const end = template.indexOf(MESSAGE_END, start);
    const literal = end === -1 ? "" : template.slice(start, end);
    // Braces, backslashes and a quote in front belong to template code, not to a sentence.
    if (literal !== "" && !/[{}\\]|^['"]/.test(literal)) return literal;
  }
  return [KIMI_SYSTEM, PLAIN_SYSTEM].find((sentence) => template.includes(sentence));
}

/** `tools | tojson` writes Python's default separators, `tojson(separators=(',', ':'))` compact ones. */
function toolSeparatorsOf(template: string): "compact" | "spaced" | undefined {
  const written = /tools\s{0,20}\|\s{0,20}tojson\s{0,20}(\([^)]{0,100}\))?/.exec(template);
  if (written === null) return undefined;
  return /separators\s{0,20}=\s{0,20}\(\s{0,20}(','|",")/.test(written[1] ?? "") ? "compact" : "spaced";
}

function requireTokens({ tokenizer }: TemplateFacts, tokens: readonly KimiControl[]): void {
  for (const token of tokens) {
    if (tokenizer.controlId(token) === undefined) {
      throw unsupported(`a tokenizer with the control token ${token}`, "one that does not declare it");
    }
  }
}

function unsupported(expected: string, got: string): K2Error {
  return new K2Error("unsupported-checkpoint", `Expected ${expected} for the chat layout, got ${got}`, {
    expected,
    got,
  });
}
