// Which chat layout a checkpoint speaks. The template text that it ships decides, where there is one: it tells the
// family, the default system prompt and how tools are spelled. Without it the declared control tokens decide. A text of
// no family that we know is rendered as it is.

import { K2Error } from "../errors";
import type { ChatTemplate } from "./chat-template";
import { DeepSeekTemplate } from "./deepseek";
import { JinjaTemplate } from "./jinja-template";
import { jsonTools, type KimiControl, KimiK2Template } from "./kimi-k2";
import { createKimiK25Template } from "./kimi-k25";
import { MoonlightTemplate } from "./moonlight";
import type { PromptTokenizer } from "./segments";

/** The name of a chat layout; "jinja" runs the template text of the checkpoint. */
export type ChatTemplateName =
  | "kimi-k2-instruct"
  | "kimi-k2-thinking"
  | "kimi-k2.5"
  | "moonlight"
  | "deepseek-v3"
  | "deepseek-r1"
  | "deepseek-v3.1"
  | "jinja";

export const TEMPLATE_NAMES: readonly ChatTemplateName[] = [
  "kimi-k2-instruct",
  "kimi-k2-thinking",
  "kimi-k2.5",
  "moonlight",
  "deepseek-v3",
  "deepseek-r1",
  "deepseek-v3.1",
  "jinja",
];

/** What a checkpoint says about its chat layout. */
export interface TemplateFacts {
  tokenizer: Pick<PromptTokenizer, "controlId">;
  /** All control tokens that the tokenizer declares. Default: none. */
  controlNames?: readonly string[] | undefined;
  /** `bos_token` and its like, from tokenizer_config.json; templates write them by name. */
  specialTokens?: Readonly<Record<string, string>> | undefined;
  /** chat_template.jinja, or `chat_template` of tokenizer_config.json. */
  chatTemplate?: string | undefined;
  /** The outermost `model_type` of config.json. */
  modelType?: string | undefined;
  /** Chosen by the caller. */
  family?: ChatTemplateName | undefined;
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
const THINK_TOKENS = ["<think>", "</think>"] as const;
const DEEPSEEK_TOKENS = ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"];
const SYSTEM_HEAD = "<|im_system|>system<|im_middle|>";
const MESSAGE_END = "<|im_end|>";

/**
 * @throws K2Error `unsupported-checkpoint` for a tokenizer without the tokens of the layout, or where neither template
 *   text nor tokens tell the layout.
 */
export function chooseTemplate(facts: TemplateFacts): ChatTemplate {
  const family = facts.family ?? familyOf(facts);
  requireTokens(facts, tokensOf(family));
  const text = facts.chatTemplate ?? "";
  switch (family) {
    case "kimi-k2-instruct":
    case "kimi-k2-thinking":
      return new KimiK2Template({
        name: family,
        thinking: family === "kimi-k2-thinking" ? "model-opens" : "never",
        defaultSystem: defaultSystemOf(text) ?? KIMI_SYSTEM,
        // The current revisions of both published templates write compact JSON.
        writeTools: jsonTools(toolSeparatorsOf(text) ?? "compact"),
      });
    case "kimi-k2.5":
      return createKimiK25Template();
    case "moonlight":
      return new MoonlightTemplate(defaultSystemOf(text) ?? PLAIN_SYSTEM);
    case "deepseek-v3":
    case "deepseek-r1":
    case "deepseek-v3.1":
      return new DeepSeekTemplate({
        name: family,
        assistantHead: text === "" || text.includes("is_last_user") ? "after-user" : "before-answer",
        breaksBetweenResults: text === "" || /(\\n|\n)<｜tool▁output▁begin｜>/.test(text),
        opensBlock: family === "deepseek-r1" && text.includes("<｜Assistant｜><think>"),
      });
    case "jinja":
      return createJinjaTemplate(facts);
  }
}

function createJinjaTemplate(facts: TemplateFacts): ChatTemplate {
  const { chatTemplate, controlNames = [], specialTokens = {} } = facts;
  if (chatTemplate === undefined) {
    throw unsupported(
      "chat_template.jinja (or chat_template in tokenizer_config.json)",
      "a checkpoint without it",
    );
  }
  return new JinjaTemplate({ text: chatTemplate, controlNames, specialTokens });
}

function familyOf(facts: TemplateFacts): ChatTemplateName {
  const text = facts.chatTemplate;
  if (text === undefined) return familyOfTokens(facts);
  if (text.includes("<|im_middle|>")) return kimiFamily(text);
  if (text.includes("<｜User｜>") && text.includes("<｜Assistant｜>")) return deepSeekFamily(text);
  return "jinja";
}

function kimiFamily(text: string): ChatTemplateName {
  if (text.includes("tools_ts_str")) {
    // K2.5 and K2.6 can be switched to instant mode. A relative that cannot (K2.7 Code) has rules of its own.
    return text.includes("thinking is false") ? "kimi-k2.5" : "jinja";
  }
  if (text.includes("<think>")) return "kimi-k2-thinking";
  return text.includes("<|tool_calls_section_begin|>") ? "kimi-k2-instruct" : "moonlight";
}

function deepSeekFamily(text: string): ChatTemplateName {
  const isFenced = text.includes("```json");
  // Revisions that declare tools, or decide by more than the published ones do, speak for themselves.
  if (/\bis_only_sys\b|\btools\b/.test(text)) return "jinja";
  if (!isFenced)
    return text.includes("<｜tool▁sep｜>") && text.includes("</think>") ? "deepseek-v3.1" : "jinja";
  if (text.includes("enable_thinking")) return "jinja";
  return text.includes("</think>") ? "deepseek-r1" : "deepseek-v3";
}

function familyOfTokens({ tokenizer, modelType }: TemplateFacts): ChatTemplateName {
  const declares = (tokens: readonly string[]) =>
    tokens.every((token) => tokenizer.controlId(token) !== undefined);
  if (!declares(MESSAGE_TOKENS) && declares(DEEPSEEK_TOKENS)) {
    // V3, R1 and V3.1 declare the same tokens and lay them out differently.
    throw unsupported(
      "chat_template.jinja, or the load option chatTemplate,",
      "a DeepSeek checkpoint with neither",
    );
  }
  if (modelType === "kimi_k25") return "kimi-k2.5";
  if (declares(THINK_TOKENS)) return "kimi-k2-thinking";
  return declares(["<|tool_calls_section_begin|>"]) ? "kimi-k2-instruct" : "moonlight";
}

/** The tokens without which no prompt of a layout can be written. */
function tokensOf(family: ChatTemplateName): readonly string[] {
  switch (family) {
    case "kimi-k2-thinking":
    case "kimi-k2.5":
      return [...MESSAGE_TOKENS, ...THINK_TOKENS];
    case "kimi-k2-instruct":
    case "moonlight":
      return MESSAGE_TOKENS;
    case "deepseek-r1":
    case "deepseek-v3.1":
      return [...DEEPSEEK_TOKENS, ...THINK_TOKENS];
    case "deepseek-v3":
      return DEEPSEEK_TOKENS;
    case "jinja":
      return [];
  }
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

function requireTokens({ tokenizer }: TemplateFacts, tokens: readonly string[]): void {
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
