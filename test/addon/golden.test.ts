// Whole models against the independent oracle: every family, every stored form, every kernel set, both forms of
// attention.

import { describe, expect, it } from "vitest";
import { listDevices, loadModel } from "../../lib/index";
import { distance, goldenNames, readGolden } from "./support/golden-checkpoints";

const isas = listDevices().find((device) => device.name === "cpu")!.isas;

async function evaluate(path: string, ids: number[], options: Parameters<typeof loadModel>[1]) {
  await using model = await loadModel(path, { threads: 2, contextTokens: 512, ...options });
  return await model.createSession().evaluate(ids);
}

describe.each(goldenNames)("%s", (name) => {
  const golden = readGolden(name);

  it.each(["absorbed", "expanded"] as const)("reference, %s attention", async (attention) => {
    const logits = await evaluate(golden.path, golden.ids, { device: "reference", attention });
    const { worst, otherArgmax } = distance(golden, logits);
    // Floats between the ops: the oracle's own float32 run differs from its float64 run by up to 5e-6.
    expect(worst).toBeLessThan(2e-5);
    expect(otherArgmax).toBe(0);
  });

  it.each(isas)("cpu, %s kernels, absorbed attention", async (isa) => {
    const logits = await evaluate(golden.path, golden.ids, { device: "cpu", isa, attention: "absorbed" });
    const { worst, rms } = distance(golden, logits);
    // 16-bit activations: as far as the oracle's own BF16 run, with room for other roundings of the same size.
    expect(rms).toBeLessThan(1.5 * golden.bfloat16Rms);
    expect(worst).toBeLessThan(2.5 * golden.bfloat16Noise);
  });

  it.runIf(name.startsWith("int4"))("cpu, int8 activations", async () => {
    const options = { device: "cpu", attention: "absorbed" } as const;
    const logits = await evaluate(golden.path, golden.ids, { ...options, activations: "int8" });
    const { rms } = distance(golden, logits);
    // A number of an INT4 weight's input errs by up to 2^-8 of the largest of its 32 instead of 2^-9 of itself: two times as
    // far where it is that largest one, and four times in the mean square where they are normal (the largest of 32 is twice
    // their deviation).
    expect(rms).toBeLessThan(1.5 * 4 * golden.bfloat16Rms);
    expect(rms).toBeGreaterThan(distance(golden, await evaluate(golden.path, golden.ids, options)).rms);
  });

  it("cpu, expanded attention", async () => {
    const logits = await evaluate(golden.path, golden.ids, { device: "cpu", attention: "expanded" });
    // Keys and values are rounded once more than in the absorbed form.
    expect(distance(golden, logits).rms).toBeLessThan(2 * golden.bfloat16Rms);
  });
});
