// measureMachine: figures that can be, wrong options, one at a time, and never on JavaScript's thread.

import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { expect, it } from "vitest";
import { measureMachine } from "../../lib/index";

it("measures without holding JavaScript's thread", async () => {
  let ticks = 0;
  const timer = setInterval(() => {
    ticks += 1;
  }, 5);
  const machine = await measureMachine({ threads: 1 });
  clearInterval(timer);
  expect(ticks).toBeGreaterThan(5);
  const { threads, arithmetic, cacheBytes, ...rates } = machine;
  expect(threads).toBe(1);
  expect(arithmetic).toMatch(/^(bf16|f32)-/);
  expect(cacheBytes).toBeGreaterThanOrEqual(0);
  for (const rate of Object.values(rates)) {
    expect(rate).toBeGreaterThan(1e6);
    expect(rate).toBeLessThan(1e15);
  }
});

it("refuses wrong options, and a second measurement meanwhile", async () => {
  await expect(measureMachine({ threads: 0 })).rejects.toMatchObject({
    code: "invalid-argument",
    message: "Expected an integer of 1..1024 for threads, got 0",
  });
  await expect(measureMachine({ treads: 1 } as object)).rejects.toMatchObject({ code: "invalid-argument" });
  const first = measureMachine({ threads: 1 });
  await expect(measureMachine()).rejects.toMatchObject({ code: "invalid-state" });
  await first;
  await measureMachine({ threads: 1 });
});

it("lets the process end in the middle", () => {
  const code = `require(${JSON.stringify(join(__dirname, "../../dist/index.js"))}).measureMachine();
    setTimeout(() => process.exit(7), 50);`;
  expect(() => execFileSync(process.execPath, ["-e", code])).toThrow(expect.objectContaining({ status: 7 }));
});
