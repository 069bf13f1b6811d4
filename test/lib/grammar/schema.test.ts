// Whatever a compiled schema can write is valid: random texts of its program, read back and checked by ajv.

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import Ajv from "ajv/dist/2020";
import { describe, expect, it } from "vitest";
import { compileSchema } from "../../../lib/grammar/schema";
import { decodeBytes, randomText } from "../../support/grammar-texts";
import { seededRandom } from "../../support/random";

const FOLDER = join(__dirname, "../../../../shared/tool-schemas");
const isHere = existsSync(FOLDER);
if (!isHere) console.log("skipped: the published tool schemas are not in ../shared/tool-schemas");

const ajv = new Ajv({ strict: false, validateFormats: false, logger: false });

function expectValidTexts(schema: unknown, rounds: number): void {
  const program = compileSchema(schema, "schema");
  const { $id: _, ...rest } = schema as Record<string, unknown>;
  const validate = ajv.compile(rest);
  const random = seededRandom(7);
  for (let i = 0; i < rounds; i++) {
    const bytes = randomText(program, random);
    if (bytes === undefined) continue;
    const text = decodeBytes(bytes);
    if (!validate(JSON.parse(text))) {
      throw new Error(`${JSON.stringify(schema)} wrote ${text}: ${ajv.errorsText(validate.errors)}`);
    }
  }
}

const OWN: unknown[] = [
  { type: "integer", minimum: -17, exclusiveMaximum: 1205 },
  { type: "integer", minimum: 3, multipleOf: 7, maximum: 100000 },
  { type: "number", exclusiveMinimum: 0, exclusiveMaximum: 1 },
  { type: "number", minimum: -0.25, maximum: 1e-7 },
  { type: "number", minimum: 1e20 },
  { type: "string", pattern: "^[a-z]+$", minLength: 2, maxLength: 5 },
  { type: "string", pattern: "b+|^a", maxLength: 9 },
  { type: "string", pattern: "^(a|bc)*d?$", minLength: 3, maxLength: 8 },
  { type: "string", pattern: "^(a|bc)*d?$", minLength: 3 },
  {
    type: "array",
    prefixItems: [{ type: "string" }, { type: "integer" }],
    items: { type: "null" },
    minItems: 1,
  },
  { type: "array", items: { type: "boolean" }, minItems: 2, maxItems: 3 },
  { type: "array", prefixItems: [{ type: "string" }], items: false },
  { type: "object", required: ["a"], additionalProperties: { type: "integer" } },
  { type: "object", properties: { a: false, b: { type: "null" } }, additionalProperties: true },
  { type: "object", properties: { a: {}, b: {}, c: {} }, minProperties: 2, maxProperties: 2 },
  {
    allOf: [
      { properties: { a: { minimum: 3 } }, required: ["a"] },
      { properties: { a: { type: "integer" } } },
    ],
    type: "object",
  },
  { oneOf: [{ type: "string" }, { type: "integer" }] },
  {
    oneOf: ["x", "y"].map((kind) => ({
      type: "object",
      properties: { kind: { const: kind }, n: { type: "integer" } },
      required: ["kind"],
    })),
  },
  { enum: [1, "a", null, { b: [1, "x"] }, "abc"], type: ["string", "object"] },
  { type: "string", enum: ["aa", "b"], pattern: "^a" },
  { type: ["string", "null"], maxLength: 3 },
];

describe("compileSchema writes valid texts", () => {
  it.each(OWN.map((schema) => [JSON.stringify(schema), schema]))("%s", (_, schema) => {
    expectValidTexts(schema, 300);
  });

  it.skipIf(!isHere)("for all published tool schemas", () => {
    const files = readdirSync(FOLDER).filter((file) => file.endsWith(".jsonl"));
    const lines = files.flatMap((file) =>
      readFileSync(join(FOLDER, file), "utf8").split("\n").filter(Boolean),
    );
    expect(lines.length).toBe(212);
    for (const line of lines) expectValidTexts(JSON.parse(line), 100);
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
