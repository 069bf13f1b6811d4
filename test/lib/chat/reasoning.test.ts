// A chat with models whose prompt opens the thinking block, and with reasoning of earlier turns.

import { describe, expect, it } from "vitest";
import { Chat } from "../../../lib/chat/chat";
import type { ChatEngine } from "../../../lib/chat/engine";
import { chooseTemplate } from "../../../lib/template/choose-template";
import { M } from "../support/byte-tokenizer";
import { ScriptedEngine } from "../support/scripted-engine";

const HISTORY = [
  { role: "user", content: "a" },
  { role: "assistant", content: "b", reasoning_content: "because" },
] as const;

function engineOf(modelType?: string): ScriptedEngine & ChatEngine {
  const engine = new ScriptedEngine();
  Object.assign(engine, { template: chooseTemplate({ tokenizer: engine.tokenizer, modelType }) });
  return engine;
}

/** What the first session of an engine was shown, without control tokens. */
function prompt(engine: ScriptedEngine): string {
  return Buffer.from(engine.sessions[0]!.tokens.filter((id) => id < 256)).toString("utf8");
}

describe("a chat", () => {
  it("begins inside the block that K2.5's prompt has opened", async () => {
    const engine = engineOf("kimi_k25");
    engine.plan("hm", M.endThink, "yes", M.end);
    const reply = await new Chat(engine).send("x").reply();
    expect([reply.reasoning, reply.text]).toEqual(["hm", "yes"]);
  });

  it("begins outside of it in instant mode", async () => {
    const engine = engineOf("kimi_k25");
    engine.plan("yes", M.end);
    const reply = await new Chat(engine, { thinking: false }).send("x").reply();
    expect([reply.reasoning, reply.text]).toEqual(["", "yes"]);
  });

  it("shows the reasoning of earlier turns on demand", async () => {
    for (const keepReasoning of [undefined, true]) {
      const engine = engineOf();
      engine.plan("c", M.end);
      await new Chat(engine, { messages: HISTORY })
        .send("x", { ...(keepReasoning && { keepReasoning }) })
        .reply();
      expect(prompt(engine).includes("because")).toBe(keepReasoning === true);
    }
    const chat = new Chat(engineOf());
    await expect(chat.send("x", { keepReasoning: "yes" as never }).reply()).rejects.toThrow(
      /^Expected .* for keepReasoning, got "yes"/,
    );
  });
});
