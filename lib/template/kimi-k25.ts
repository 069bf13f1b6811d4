// The chat layout of the text part of K2.5 and K2.6: K2's messages, but tools are declared in TypeScript, no system
// prompt is inserted, and the prompt itself opens the thinking block.

import { jsonTools, KimiK2Template } from "./kimi-k2";
import { typescriptTools } from "./typescript-tools";

const asJson = jsonTools("compact");

export function createKimiK25Template(): KimiK2Template {
  return new KimiK2Template({
    name: "kimi-k2.5",
    thinking: "prompt-opens",
    defaultSystem: undefined,
    // The published encoder gives up on schemas that it does not know; all tools are then declared as JSON.
    writeTools: (tools) => typescriptTools(tools) ?? asJson(tools),
  });
}
