// The thread that compiles, in the built library: the sources that the other tests run have no file for a thread.

import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import type { compileAside as CompileAside } from "../../../lib/compile/compile-thread";
import type { GrammarSource } from "../../../lib/grammar/compile";
import { compileSchema } from "../../../lib/grammar/schema";
import { K2Error } from "../../../lib/index";

const FILE = join(__dirname, "../../../dist/compile/compile-thread.js");

describe.skipIf(!existsSync(FILE))("compileAside", () => {
  const { compileAside } = createRequire(__filename)(FILE) as { compileAside: typeof CompileAside };
  const schema = (value: unknown): GrammarSource => ({
    kind: "schema",
    text: JSON.stringify(value),
    name: "tool",
  });
  /** Takes some hundred milliseconds. */
  const long = schema({ enum: Array.from({ length: 40_000 }, (_, i) => `${i * 7919}`) });

  it("gives what is compiled here", async () => {
    const value = { properties: { a: { type: "integer", minimum: -3 }, b: { pattern: "^(a|b)+$" } } };
    expect(await compileAside(schema(value))).toEqual(compileSchema(value, "tool"));
  });

  it("compiles in a thread that keeps the process only while somebody waits", async () => {
    const threads = () => process.getActiveResourcesInfo().filter((name) => name === "MessagePort").length;
    const before = threads();
    const work = compileAside(long);
    while (threads() === before) await setImmediate();
    await work;
    expect(threads()).toBe(before);
  });

  it("rejects with the error of the source, whole", async () => {
    const refused = compileAside(schema({ properties: { a: { not: {} } } }));
    await expect(refused).rejects.toMatchObject({
      name: "K2Error",
      code: "invalid-argument",
      details: { option: "tool.properties.a.not" },
    });
    await expect(refused).rejects.not.toBeInstanceOf(K2Error);
  });

  it("ends at an abort, and compiles the next", async () => {
    const abort = new AbortController();
    const stopped = compileAside(long, abort.signal);
    await setImmediate();
    abort.abort();
    await expect(stopped).rejects.toMatchObject({ code: "aborted" });
    expect(await compileAside(schema({ const: 1 }))).toEqual(compileSchema({ const: 1 }, "tool"));
  });
});
