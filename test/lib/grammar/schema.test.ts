// Whatever a compiled schema can write is valid: random texts of its program, read back and checked by ajv.

import { describe, expect, it } from "vitest";
import { compileSchema } from "../../../lib/grammar/schema";
import { accepts } from "../../support/grammar-matcher";
import { OWN_SCHEMAS } from "../../support/grammar-schemas";
import { decodeBytes, randomText } from "../../support/grammar-texts";
import { seededRandom } from "../../support/random";
import { publishedSchemas, validatorOf, whyNoSchemas } from "../../support/tool-schemas";

if (publishedSchemas.length === 0) console.log(whyNoSchemas);

function expectValidTexts(schema: unknown, rounds: number): void {
  const program = compileSchema(schema, "schema");
  const validate = validatorOf(schema);
  const random = seededRandom(7);
  for (let i = 0; i < rounds; i++) {
    const bytes = randomText(program, random);
    if (bytes === undefined) continue;
    const text = decodeBytes(bytes);
    const reason = validate(JSON.parse(text));
    if (reason !== undefined) throw new Error(`${JSON.stringify(schema)} wrote ${text}: ${reason}`);
    if (!accepts(program, text))
      throw new Error(`${JSON.stringify(schema)} does not read what it wrote: ${text}`);
  }
}

describe("compileSchema writes valid texts", () => {
  it.each(OWN_SCHEMAS.map((schema) => [JSON.stringify(schema), schema]))("%s", (_, schema) => {
    expectValidTexts(schema, 100);
  });

  it.skipIf(publishedSchemas.length === 0)("for all published tool schemas", () => {
    expect(publishedSchemas.length).toBe(212);
    for (const schema of publishedSchemas) expectValidTexts(schema, 30);
  });
});

describe("compileSchema is fast and small", () => {
  it.each([
    ["all published tool schemas", publishedSchemas],
    ["a huge maxLength", [{ type: "string", maxLength: 5_000_000 }]],
  ])("for %s", (_, schemas) => {
    for (const schema of schemas) {
      let fastest = Infinity;
      let bytes = 0;
      for (let run = 0; run < 3; run++) {
        const start = performance.now();
        const { code, nodes, rules, heights, pool } = compileSchema(schema, "schema");
        fastest = Math.min(fastest, performance.now() - start);
        bytes = [code, nodes, rules, heights, pool].reduce((sum, array) => sum + array.byteLength, 0);
      }
      // The promise is 250 ms and 64 MiB.
      expect(fastest).toBeLessThan(100);
      expect(bytes).toBeLessThan(2 ** 20);
    }
  });
});

describe("compileSchema refuses", () => {
  it.each([
    [
      { properties: { a: { not: {} } } },
      "Expected a supported keyword for tool.properties.a.not, got an object",
    ],
    [{ type: "array", uniqueItems: true }, "tool.uniqueItems"],
    [{ $ref: "#" }, "does not lead back to itself"],
    [
      {
        $defs: { x: { type: "object", required: ["n"], properties: { n: { $ref: "#/$defs/x" } } } },
        $ref: "#/$defs/x",
      },
      "nothing can satisfy",
    ],
    [{ oneOf: [{ type: "number" }, { type: "integer" }] }, "tool.oneOf"],
    [{ type: "string", pattern: "(?=a)b" }, "look-around"],
    [{ type: "string", format: "color" }, "tool.format"],
    [false, "nothing can satisfy"],
  ])("%j", (schema, message) => {
    expect(() => compileSchema(schema, "tool")).toThrow(message);
  });

  it("cycles and endless depth", () => {
    const cycle: Record<string, unknown> = {};
    cycle.properties = { cycle, again: cycle };
    expect(() => compileSchema(cycle, "tool")).toThrow("levels of nesting");
    let deep: unknown = {};
    for (let i = 0; i < 100_000; i++) deep = { items: deep };
    expect(() => compileSchema(deep, "tool")).toThrow("levels of nesting");
  });
});
