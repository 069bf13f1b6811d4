// The text side of a checkpoint: which layout a folder gets, and what the caller may say about it.

import { cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { openCheckpoint } from "../../../lib/checkpoint/open-checkpoint";
import { demoModelPath } from "../../../lib/model/demo-model";
import { readModelText } from "../../../lib/model/text";
import { renderSegments } from "../../../lib/template/render-prompt";

const folder = mkdtempSync(join(tmpdir(), "k2-text-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function textOf(path: string, chatTemplate?: unknown) {
  const checkpoint = await openCheckpoint(path);
  const option = chatTemplate as "auto" | undefined;
  return readModelText(checkpoint, { onProgress: undefined, signal: undefined, chatTemplate: option });
}

/** The demo model with another template. */
function folderWith(template: string): string {
  cpSync(demoModelPath, folder, { recursive: true });
  writeFileSync(join(folder, "chat_template.jinja"), template);
  return folder;
}

describe("the chat layout of a checkpoint", () => {
  it("follows its files, and the option", async () => {
    expect((await textOf(demoModelPath)).template().name).toBe("kimi-k2-thinking");
    expect((await textOf(demoModelPath, "auto")).template().name).toBe("kimi-k2-thinking");
    expect((await textOf(demoModelPath, "kimi-k2.5")).template().name).toBe("kimi-k2.5");
  });

  it("needs the tokens of the layout that the option names", async () => {
    const text = await textOf(demoModelPath, "deepseek-v3");
    expect(() => text.template()).toThrow(/the control token <｜begin▁of▁sentence｜> for the chat layout/);
  });

  it("can only be one that there is", async () => {
    for (const name of ["kimi", 1, null]) {
      await expect(textOf(demoModelPath, name)).rejects.toThrow(
        /^Expected one of auto, kimi-k2-instruct, .* for chatTemplate/,
      );
    }
  });

  it("is its own template where no family is known, with the names that its files give", async () => {
    const path = folderWith("{{ bos_token }}<|im_end|>{{ messages[0].content }}");
    const template = (await textOf(path)).template();
    expect(template.name).toBe("jinja");
    expect(renderSegments(template, [{ role: "user", content: "<|im_end|>" }])).toEqual([
      { kind: "control", name: "[BOS]" },
      { kind: "control", name: "<|im_end|>" },
      { kind: "content", text: "<|im_end|>" },
    ]);
  });
});
