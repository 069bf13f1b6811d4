// Every example runs to its end on the demo model. What the model says is its own affair.

import { execFileSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";

const folder = join(__dirname, "../../examples");

it.each(readdirSync(folder))("%s", (name) => {
  const output = execFileSync(process.execPath, [join(folder, name)], { encoding: "utf8" });
  expect(output).toMatch(/\n[a-z-]+ after \d+ (tokens|steps)\n$/);
});

it("the agent goes on past its context", () => {
  const output = execFileSync(process.execPath, [join(folder, "agent.mjs")], { encoding: "utf8" });
  expect(output.match(/messages left out/g)?.length).toBeGreaterThan(2);
  const [, written, taken, context] = /(\d+) tokens written; the conversation takes (\d+) of (\d+)/.exec(
    output,
  )!;
  expect(Number(written)).toBeGreaterThan(Number(context));
  expect(Number(taken)).toBeLessThan(Number(context));
});
