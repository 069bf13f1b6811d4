// Compiling in slices: JavaScript's thread stays free, equal requests share the work, and aborts end it.

import { setImmediate } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { compileSchema, schemaWork } from "../../../lib/grammar/schema";
import { prepareSchemaGrammar, schemaGrammar } from "../../../lib/grammar/schema-cache";
import { publishedSchemas } from "../../support/tool-schemas";

/** Takes some hundred milliseconds; `mark` makes it another schema. */
function largeSchema(mark: string): unknown {
  const values = Array.from({ length: 3000 }, (_, i) => `${mark}${i * 7919}`);
  return {
    properties: {
      value: { enum: values },
      bounded: { type: "string", pattern: "^(a|bc)*(d|ef)*g?$", minLength: 100, maxLength: 900 },
    },
  };
}

/** Milliseconds of the longest step. Each counts by its fastest run: other processes of the machine take the thread, too. */
function longestStep(schema: unknown): number {
  const fastest: number[] = [];
  for (let run = 0; run < 6; run++) {
    const work = schemaWork(schema, "tool");
    for (let i = 0; ; i++) {
      const start = performance.now();
      const { done } = work.next();
      fastest[i] = Math.min(fastest[i] ?? Infinity, performance.now() - start);
      if (done) break;
    }
  }
  return fastest.reduce((longest, ms) => Math.max(longest, ms), 0);
}

describe("schemaWork", () => {
  it("is made of small steps", () => {
    expect(longestStep(largeSchema("a"))).toBeLessThan(4);
  });

  it("of multiples, whose digits are followed with every remainder", () => {
    for (const multipleOf of [97, 100]) expect(longestStep({ type: "integer", multipleOf })).toBeLessThan(4);
  });

  it.skipIf(publishedSchemas.length === 0)("for all published schemas, too", () => {
    for (const schema of publishedSchemas) expect(longestStep(schema)).toBeLessThan(4);
  });
});

describe("prepareSchemaGrammar", () => {
  it("gives what compileSchema gives, and the cache has it", async () => {
    const schema = largeSchema("a");
    const program = await prepareSchemaGrammar(schema, "tool");
    expect(program).toEqual(compileSchema(schema, "tool"));
    expect(schemaGrammar(structuredClone(schema), "other")).toBe(program);
    expect(await prepareSchemaGrammar(structuredClone(schema), "other")).toBe(program);
  });

  it("lets the event loop turn", async () => {
    let turns = 0;
    let isOver = false;
    const work = prepareSchemaGrammar(largeSchema("b"), "tool").finally(() => {
      isOver = true;
    });
    for (; !isOver; turns++) await setImmediate();
    await work;
    expect(turns).toBeGreaterThan(10);
  });

  it("is shared by equal requests, and ends when all of them are aborted", async () => {
    const schema = largeSchema("g");
    const first = new AbortController();
    const second = new AbortController();
    const one = prepareSchemaGrammar(schema, "tool", first.signal);
    const two = prepareSchemaGrammar(schema, "tool", second.signal);
    first.abort();
    await expect(one).rejects.toMatchObject({ code: "aborted" });
    const three = prepareSchemaGrammar(schema, "tool");
    expect(await two).toBe(await three);

    const alone = new AbortController();
    const aborted = prepareSchemaGrammar(largeSchema("h"), "tool", alone.signal);
    alone.abort();
    await expect(aborted).rejects.toMatchObject({ code: "aborted" });
    await expect(prepareSchemaGrammar(schema, "tool", AbortSignal.abort())).rejects.toMatchObject({
      code: "aborted",
    });
    expect(await prepareSchemaGrammar(largeSchema("h"), "tool")).toBeDefined();
  });

  it("rejects with the error of the schema under each name", async () => {
    const schema = { properties: { a: { not: {} } } };
    await expect(prepareSchemaGrammar(schema, "one")).rejects.toThrow("one.properties.a.not");
    await expect(prepareSchemaGrammar(schema, "two")).rejects.toThrow("two.properties.a.not");
    const cycle: Record<string, unknown> = {};
    cycle.items = cycle;
    await expect(prepareSchemaGrammar(cycle, "tool")).rejects.toThrow("levels of nesting");
  });
});
