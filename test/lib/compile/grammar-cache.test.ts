// Compiling in slices: JavaScript's thread stays free, equal requests share the work, and aborts end it.

import { setImmediate } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { prepareGrammar, readSource } from "../../../lib/compile/grammar-cache";
import { compileSchema, schemaWork } from "../../../lib/grammar/schema";
import type { Json } from "../../../lib/grammar/schema-source";
import { sourceText } from "../../../lib/grammar/source-text";
import { finishAtOnce, type Work } from "../../../lib/grammar/work";
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
function longestStep(start: () => Work<unknown>): number {
  const fastest: number[] = [];
  for (let run = 0; run < 6; run++) {
    const work = start();
    for (let i = 0; ; i++) {
      const start = performance.now();
      const { done } = work.next();
      fastest[i] = Math.min(fastest[i] ?? Infinity, performance.now() - start);
      if (done) break;
    }
  }
  return fastest.reduce((longest, ms) => Math.max(longest, ms), 0);
}

/** Of reading and of compiling. */
function longestSteps(schema: unknown): number {
  const copy = JSON.parse(finishAtOnce(sourceText(schema, "tool"))) as Json;
  return Math.max(
    longestStep(() => sourceText(schema, "tool")),
    longestStep(() => schemaWork(copy, "tool")),
  );
}

describe("the work on a schema", () => {
  it("is made of small steps", () => {
    expect(longestSteps(largeSchema("a"))).toBeLessThan(4);
  });

  it("of multiples, whose digits are followed with every remainder", () => {
    for (const multipleOf of [97, 100]) expect(longestSteps({ type: "integer", multipleOf })).toBeLessThan(4);
  });

  it.skipIf(publishedSchemas.length === 0)("for all published schemas, too", () => {
    for (const schema of publishedSchemas) expect(longestSteps(schema)).toBeLessThan(4);
  });
});

describe("sourceText", () => {
  const textOf = (value: unknown) => finishAtOnce(sourceText(value, "it"));

  it.each([
    {},
    [],
    [[], {}, "", 0, null, true],
    { a: { b: [1, -2.5e300, '\u2028"\\'] }, "": {}, "a-b c": [{}, { x: null }] },
    JSON.parse('{"__proto__":{"a":1},"constructor":2}'),
  ])("is what JSON.stringify writes: %j", (value) => {
    expect(textOf(value)).toBe(JSON.stringify(value));
  });

  it("leaves out what is undefined, and calls no toJSON", () => {
    expect(textOf({ a: undefined, b: 1, c: undefined })).toBe('{"b":1}');
    expect(textOf({ a: undefined })).toBe("{}");
    expect(textOf({ toJSON: "text" })).toBe('{"toJSON":"text"}');
  });

  it.each([
    [{ a: [1, Number.NaN] }, "Expected JSON data for it.a[1], got NaN"],
    [{ a: [undefined] }, "Expected JSON data for it.a[0], got undefined"],
    [new Array(3), "Expected JSON data for it[0], got undefined"],
    [{ a: { "b c": () => 1 } }, 'Expected JSON data for it.a["b c"], got a function'],
    [{ a: 10n }, "Expected JSON data for it.a, got 10n"],
    [{ a: "\ud800" }, "Expected well-formed text for it.a"],
    [{ "\ud800": 1 }, "Expected well-formed keys for it"],
    [{ a: "x".repeat(500_000) }, "Expected a smaller schema for it"],
  ])("refuses what is none, number %#", (value, message) => {
    expect(() => textOf(value)).toThrow(message);
  });
});

async function prepareSchemaGrammar(schema: unknown, name: string, signal?: AbortSignal) {
  return prepareGrammar(await readSource("schema", schema, name), signal);
}

describe("prepareGrammar", () => {
  it("gives what compileSchema gives, and the cache has it", async () => {
    const schema = largeSchema("a");
    const program = await prepareSchemaGrammar(schema, "tool");
    expect(program).toEqual(compileSchema(schema, "tool"));
    expect(await prepareSchemaGrammar(structuredClone(schema), "other")).toBe(program);
  });

  it("keeps grammars of different kinds apart", async () => {
    const choice = await prepareGrammar(await readSource("choice", ["a"], "it"));
    expect(await prepareGrammar(await readSource("choice", ["a"], "other"))).toBe(choice);
    await expect(prepareGrammar(await readSource("schema", ["a"], "it"))).rejects.toThrow("a schema");
    const pattern = await prepareGrammar(await readSource("regex", "true", "it"));
    expect(await prepareGrammar(await readSource("schema", { const: "true" }, "it"))).not.toBe(pattern);
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
    const source = await readSource("schema", schema, "tool");
    const first = new AbortController();
    const second = new AbortController();
    const one = prepareGrammar(source, first.signal);
    const two = prepareGrammar(source, second.signal);
    first.abort();
    await expect(one).rejects.toMatchObject({ code: "aborted" });
    const three = prepareGrammar(source);
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
