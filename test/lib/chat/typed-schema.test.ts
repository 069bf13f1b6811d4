// What a library's schema converts itself to, as far as it becomes a grammar.

import { setImmediate } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { createGrammar, parseFormat } from "../../../lib/chat/response-format";
import { type TypedSchema, toJsonSchema } from "../../../lib/chat/typed-schema";
import { K2Error } from "../../../lib/errors";

const typed = (convert: () => Record<string, unknown>): TypedSchema => ({
  "~standard": {
    version: 1,
    vendor: "test",
    validate: (value) => ({ value }),
    jsonSchema: { input: convert },
  },
});

describe("a library's JSON Schema", () => {
  it("keeps the pattern where a format stands beside it, and loses keys that are any strings", async () => {
    // As Zod 4 writes z.uuid(), z.string().startsWith() and z.record(z.string(), z.boolean()).
    const schema = typed(() => ({
      $schema: "https://json-schema.org/draft/2020-12/schema",
      type: "object",
      properties: {
        id: { type: "string", format: "uuid", pattern: "^[0-9a-f]{4}$" },
        key: { type: "string", format: "starts_with", pattern: "^a.*" },
        day: { type: "string", format: "date" },
        map: { type: "object", propertyNames: { type: "string" }, additionalProperties: { type: "boolean" } },
        list: { type: "array", items: { format: "email", pattern: "^a@b$" } },
        format: { type: "string" },
        pattern: { type: "string", const: "x" },
        constant: { const: { format: "a", pattern: "b" } },
      },
    }));
    expect(toJsonSchema(schema, "schema")).toEqual({
      type: "object",
      properties: {
        id: { type: "string", pattern: "^[0-9a-f]{4}$" },
        key: { type: "string", pattern: "^a.*" },
        day: { type: "string", format: "date" },
        map: { type: "object", additionalProperties: { type: "boolean" } },
        list: { type: "array", items: { pattern: "^a@b$" } },
        format: { type: "string" },
        pattern: { type: "string", const: "x" },
        constant: { const: { format: "a", pattern: "b" } },
      },
    });
    await expect(createGrammar({ type: "json_schema", schema })).resolves.toBeDefined();
  });

  it("keeps property names that say more", async () => {
    const schema = typed(() => ({ type: "object", propertyNames: { enum: ["a"] } }));
    await expect(createGrammar({ type: "json_schema", schema })).rejects.toThrow(
      "format.schema.propertyNames",
    );
  });

  it("that cannot be written is an error of ours, with the library's words", async () => {
    const schema = typed(() => {
      throw new Error("Date cannot be represented in JSON Schema");
    });
    const failure = await createGrammar({ type: "json_schema", schema }).catch((error) => error);
    expect(failure).toBeInstanceOf(K2Error);
    expect(failure).toMatchObject({ code: "invalid-argument", details: { option: "format.schema" } });
    expect(failure.message).toContain("Date cannot be represented");
  });
});

describe("a schema that is no JSON", () => {
  it("is an error with its place, also behind one that would be written the same", async () => {
    const grammar = (value: unknown) =>
      createGrammar({ type: "json_schema", schema: { enum: [value] } as never });
    await grammar(null);
    for (const value of [Number.NaN, Number.POSITIVE_INFINITY, undefined])
      await expect(grammar(value)).rejects.toThrow("Expected JSON data for format.schema.enum[0]");
    await expect(grammar(() => 1)).rejects.toMatchObject({ code: "invalid-argument" });
  });
});

describe("a long list of choices", () => {
  const format = () => ({
    type: "choice" as const,
    choices: Array.from({ length: 5000 }, (_, i) => `choice ${i * 7919}`),
  });

  it("lets the event loop turn while it is compiled, and is compiled as it was", async () => {
    let turns = 0;
    let isOver = false;
    const { choices } = format();
    const work = createGrammar({ type: "choice", choices }).finally(() => {
      isOver = true;
    });
    choices.length = 1;
    for (; !isOver; turns++) await setImmediate();
    expect(turns).toBeGreaterThan(5);
    expect(await work).toEqual(await createGrammar(format()));
  });

  it("can be aborted", async () => {
    const abort = new AbortController();
    const parsed = parseFormat(format());
    const work = parsed.compile(abort.signal);
    abort.abort();
    await expect(work).rejects.toMatchObject({ code: "aborted" });
    await expect(parsed.compile()).resolves.toBeDefined();
  });
});
