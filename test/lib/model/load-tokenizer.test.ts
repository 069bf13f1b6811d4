import { cp, mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { demoModelPath, loadTokenizer } from "../../../lib/index";

describe("loadTokenizer", () => {
  it("reads the tokenizer of a checkpoint's folder", async () => {
    const tokenizer = await loadTokenizer(demoModelPath);
    expect(tokenizer.decode(tokenizer.encode("Hello"))).toBe("Hello");
    expect(tokenizer.controlId("<|tool_call_begin|>")).toBeGreaterThanOrEqual(tokenizer.baseCount);
  });

  it("finds the number of ids in the text part of a config, or takes it from the caller", async () => {
    const { vocabSize } = await loadTokenizer(demoModelPath);
    const folder = await mkdtemp(join(tmpdir(), "k2-tokenizer-"));
    for (const name of ["tiktoken.model", "tokenizer_config.json"]) {
      await cp(join(demoModelPath, name), join(folder, name));
    }
    await expect(loadTokenizer(folder)).rejects.toMatchObject({ name: "K2Error" });
    expect((await loadTokenizer(folder, { vocabSize })).vocabSize).toBe(vocabSize);
    await writeFile(join(folder, "config.json"), JSON.stringify({ text_config: { vocab_size: vocabSize } }));
    expect((await loadTokenizer(folder)).vocabSize).toBe(vocabSize);
    await writeFile(join(folder, "config.json"), "{}");
    await expect(loadTokenizer(folder)).rejects.toThrow("Expected an integer for vocab_size");
  });
});
