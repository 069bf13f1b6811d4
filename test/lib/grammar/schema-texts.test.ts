// Schemas with texts that their grammars must take, in every spelling that JSON allows, and with texts that they must not.

import { describe, expect, it } from "vitest";
import type { GrammarProgram } from "../../../lib/grammar/program";
import { compileSchema } from "../../../lib/grammar/schema";
import { compileChoice, compileJson, compileRegex } from "../../../lib/grammar/text";
import { accepts } from "../../support/grammar-matcher";
import { decodeBytes, randomText } from "../../support/grammar-texts";
import { seededRandom } from "../../support/random";
import { publishedSchemas, validatorOf } from "../../support/tool-schemas";

interface Case {
  schema: unknown;
  takes: string[];
  refuses: string[];
}

function expectTexts(program: GrammarProgram, { takes, refuses }: { takes: string[]; refuses: string[] }) {
  expect(takes.filter((text) => !accepts(program, text))).toEqual([]);
  expect(refuses.filter((text) => accepts(program, text))).toEqual([]);
}

const person = {
  type: "object",
  properties: { name: { type: "string" }, age: { type: "integer" } },
  required: ["name"],
};

const CASES: Record<string, Case> = {
  "members in any order and any white space": {
    schema: person,
    takes: [
      '{"name":"Ada","age":36}',
      '{"age": 36, "name": "Ada"}',
      '{\n  "name": "Ada",\n  "age": 36\n}',
      '{ "name" : "Ada" }',
    ],
    refuses: [
      '{"age":36}',
      "{}",
      '{"name":"Ada","name":"Bob"}',
      '{"name":"Ada",}',
      '{"name":"Ada" "age":1}',
      ' {"name":"Ada"}',
    ],
  },
  "every escape of a string": {
    schema: { type: "string" },
    takes: ['""', '"é😀中"', '"\\u00e9\\ud83d\\ude00"', '"\\"\\\\\\/\\b\\f\\n\\r\\t"', '"\\u0000"'],
    refuses: ['"\n"', '"\\x"', '"\\ud83d"', '"\\ude00\\ud83d"', '"', "a", '"a'],
  },
  "a length in code points": {
    schema: { type: "string", minLength: 2, maxLength: 3 },
    takes: ['"ab"', '"😀😀😀"', '"\\ud83d\\ude00a"', '"\\n\\u0061b"'],
    refuses: ['"a"', '"😀"', '"abcd"', '"😀😀😀😀"'],
  },
  "numbers as JSON writes them": {
    schema: { type: "number" },
    takes: ["0", "-0", "1.0", "1e5", "1E+05", "-0.125", "123456789.25e-3"],
    refuses: ["01", "+1", "1.", ".5", "1e", "0x1", "NaN", "Infinity", "--1"],
  },
  "whole numbers": {
    schema: { type: "integer", minimum: -3, maximum: 12 },
    takes: ["-3", "0", "7", "12"],
    refuses: ["-4", "13", "1.5", "007", "120"],
  },
  "exclusive bounds of draft 4": {
    schema: { type: "integer", minimum: 1, exclusiveMinimum: true, maximum: 4, exclusiveMaximum: false },
    takes: ["2", "4"],
    refuses: ["1", "5"],
  },
  "bounds beyond all integers": {
    schema: { type: "integer", minimum: -1e308, maximum: 1e308 },
    takes: ["0", "-5", "123456789012345"],
    refuses: ["1.5"],
  },
  "bounds at 2^53": {
    schema: { type: "integer", minimum: 2 ** 53, maximum: 9007199254740996 },
    takes: ["9007199254740992", "9007199254740996"],
    refuses: ["9007199254740991", "9007199254740997"],
  },
  "a huge maxLength": {
    schema: { type: "string", maxLength: 5_000_000 },
    takes: ['""', `"${"x".repeat(3000)}"`],
    refuses: ["5"],
  },
  "a pattern and a maxLength together": {
    schema: { type: "string", pattern: "^([a-z]+-)*[a-z]+$", maxLength: 5 },
    takes: ['"a"', '"a-b-c"', '"abcde"'],
    refuses: ['"abcdef"', '"a-b-"', '""'],
  },
  "a format and a maxLength together": {
    schema: { type: "string", format: "email", maxLength: 60 },
    takes: ['"a@b.org"'],
    refuses: [`"${"a".repeat(20)}@${"b".repeat(20)}.${"c".repeat(20)}"`, '"a@b"'],
  },
  "dates that exist": {
    schema: { type: "string", format: "date" },
    takes: ['"2024-02-29"', '"1999-12-31"'],
    refuses: ['"2023-02-29"', '"2024-13-01"', '"2024-1-1"', '"2024-04-31"'],
  },
  "other formats": {
    schema: {
      anyOf: ["date-time", "time", "uuid", "ipv4", "ipv6", "uri", "hostname", "duration", "json-pointer"].map(
        (format) => ({
          type: "string",
          format,
        }),
      ),
    },
    takes: [
      '"2024-02-29T12:00:00Z"',
      '"23:59:59+01:00"',
      '"123e4567-e89b-12d3-a456-426614174000"',
      '"192.168.0.1"',
      '"::1"',
      '"https://example.org/a?b=c#d"',
      '"example.org"',
      '"P1DT2H"',
      '"/a~1b"',
    ],
    refuses: ['"2024-02-29T25:00:00Z"', '"1.2.3.256 "', '"not a uri"', '"~"'],
  },
  "constants with objects": {
    schema: { enum: [{ a: [1, "x"], b: null }, "s", 2.5, true] },
    takes: ['{"b":null,"a":[1,"x"]}', '{ "a" : [ 1 , "x" ] , "b" : null }', '"s"', "2.5", "true"],
    refuses: ['{"a":[1,"x"]}', '{"a":[1,"x"],"b":null,"c":1}', "false", "2.50001"],
  },
  "tuples, as before draft 2020": {
    schema: {
      type: "array",
      items: [{ type: "string" }, { type: "integer" }],
      additionalItems: { type: "null" },
    },
    takes: ["[]", '["a"]', '["a",1]', '["a", 1, null, null]'],
    refuses: ["[1]", '["a",1,2]', '["a",]'],
  },
  "tuples with nothing behind them": {
    schema: { type: "array", prefixItems: [{ type: "string" }], items: false, minItems: 1 },
    takes: ['["a"]'],
    refuses: ["[]", '["a",1]'],
  },
  "different items of a short list": {
    schema: { type: "array", items: { enum: ["a", 1, null] }, uniqueItems: true, minItems: 1, maxItems: 2 },
    takes: ['["a"]', '[1, "a"]', "[null,1]"],
    refuses: ["[]", '["a","a"]', '["a",1,null]', '["b"]', '["a",]'],
  },
  "different items of a long list, in its order": {
    schema: { type: "array", items: { enum: [..."abcdefghijkl"] }, uniqueItems: true },
    takes: ["[]", '["a","c","l"]', '["l"]'],
    refuses: ['["a","a"]', '["l","m"]'],
  },
  "different undeclared keys, counted": {
    schema: { type: "object", additionalProperties: { type: "integer" }, minProperties: 2, maxProperties: 3 },
    takes: ['{"a":1,"b":2}', '{"a":1,"b":2,"c":3}'],
    refuses: ["{}", '{"a":1}', '{"a":1,"a":2}', '{"a":1,"b":2,"c":3,"d":4}', '{"a":1,"b":2,"c":"x"}'],
  },
  "conjunctions and alternatives": {
    schema: {
      allOf: [
        { type: "object", properties: { a: { minimum: 3 } }, required: ["a"] },
        { properties: { a: { type: "integer" } } },
      ],
    },
    takes: ['{"a":3}'],
    refuses: ['{"a":2}', '{"a":3.5}', "{}"],
  },
  "alternatives that exclude each other": {
    schema: { oneOf: [{ type: "integer", maximum: 3 }, { type: "integer", minimum: 5 }, { type: "string" }] },
    takes: ["3", "5", '"x"'],
    refuses: ["4", "null"],
  },
  "names of places: $anchor, and $id of draft 7": {
    schema: {
      type: "object",
      properties: { a: { $ref: "#number" }, b: { $ref: "#word" } },
      required: ["a", "b"],
      $defs: { x: { $anchor: "number", type: "integer" }, y: { $id: "#word", type: "string" } },
    },
    takes: ['{"a":1,"b":"x"}'],
    refuses: ['{"a":"x","b":"x"}'],
  },
  "a $id inside, and what is relative to it": {
    schema: {
      $id: "https://example.org/root.json",
      type: "object",
      properties: {
        a: { $ref: "inner.json" },
        b: { $ref: "inner.json#/$defs/leaf" },
        c: { $ref: "#/$defs/leaf" },
      },
      required: ["a", "b", "c"],
      $defs: {
        leaf: { type: "null" },
        inner: {
          $id: "inner.json",
          type: "array",
          items: { $ref: "#/$defs/leaf" },
          $defs: { leaf: { type: "boolean" } },
        },
      },
    },
    takes: ['{"a":[true],"b":false,"c":null}'],
    refuses: [
      '{"a":[null],"b":false,"c":null}',
      '{"a":[true],"b":null,"c":null}',
      '{"a":[true],"b":true,"c":true}',
    ],
  },
  "names in data are no names": {
    schema: {
      properties: { default: { $ref: "#/$defs/x" }, $id: { const: { $id: "a" } } },
      $defs: { x: { type: "null" } },
    },
    takes: ['{"default":null}', '{"$id":{"$id":"a"}}'],
    refuses: ['{"default":1}', '{"$id":"a"}'],
  },
  "recursion through objects, down to the deepest level": {
    schema: { type: "object", properties: { next: { $ref: "#" } } },
    takes: ["{}", '{"next":{"next":{}}}', `${'{"next":'.repeat(127)}{}${"}".repeat(127)}`],
    refuses: ['{"next":null}', `${'{"next":'.repeat(128)}{}${"}".repeat(128)}`],
  },
  anything: {
    schema: true,
    takes: ["null", "[]", '{"a":[1,{"b":"c"}]}', '"x"'],
    refuses: ["", "nul", "{a:1}"],
  },
};

describe("schemas and texts", () => {
  it.each(Object.entries(CASES))("%s", (_, { schema, takes, refuses }) => {
    expectTexts(compileSchema(schema, "schema"), { takes, refuses });
  });

  it.skipIf(publishedSchemas.length === 0)("take their own values in other spellings", () => {
    const random = seededRandom(3);
    for (const schema of publishedSchemas) {
      const program = compileSchema(schema, "schema");
      const validate = validatorOf(schema);
      for (let i = 0; i < 6; i++) {
        const bytes = randomText(program, random);
        if (bytes === undefined) continue;
        const value = JSON.parse(decodeBytes(bytes));
        // Numbers may have more digits than JavaScript keeps, and are then written otherwise.
        if (/\d{15}|e[+-]?\d/i.test(JSON.stringify(value))) continue;
        for (const text of [JSON.stringify(value), JSON.stringify(value, null, 2)]) {
          if (!accepts(program, text)) throw new Error(`${JSON.stringify(schema)} does not take ${text}`);
        }
        expect(validate(value)).toBeUndefined();
      }
    }
  });
});

describe("plain text", () => {
  it("of a regular expression, with or without anchors", () => {
    for (const pattern of ["[a-c]{2}|é+", "^([a-c]{2}|é+)$"]) {
      expectTexts(compileRegex(pattern, "pattern"), {
        takes: ["ab", "é", "ééé"],
        refuses: ["", "a", "abc", "abé"],
      });
    }
    expectTexts(compileRegex("\\d{3}-\\u{1f600}", "pattern"), {
      takes: ["123-😀"],
      refuses: ["123-", "12-😀"],
    });
    expect(() => compileRegex("(a", "pattern")).toThrow("balanced parentheses for pattern");
    expect(() => compileRegex("\\p{L}", "pattern")).toThrow("\\p for pattern");
    expect(() => compileRegex("(?<!a)b", "pattern")).toThrow("look-around");
    expect(() => compileRegex("(a)\\1", "pattern")).toThrow("\\1 for pattern");
    expect(() => compileRegex("[^\\s\\S]", "pattern")).toThrow("nothing can satisfy");
  });

  it("of some choices", () => {
    const program = compileChoice(["yes", "yes, please", "no", "é"], "choices");
    expectTexts(program, { takes: ["yes", "yes, please", "no", "é"], refuses: ["", "yes,", "n", "nope"] });
    expect(() => compileChoice([], "choices")).toThrow("at least one choice");
    expect(() => compileChoice(["\ud800"], "choices")).toThrow("choices[0]");
  });

  it("of any JSON object", () => {
    expectTexts(compileJson(), { takes: ["{}", '{"a":[1,{"b":null}]}'], refuses: ["[]", "1", "{", '{"a"}'] });
  });
});

describe("what is refused", () => {
  it.each([
    [{ if: {}, else: {} }, "tool.if"],
    [{ items: { patternProperties: {} } }, "tool.items.patternProperties"],
    [{ allOf: [{ contains: {} }] }, "tool.allOf[0].contains"],
    [{ properties: { a: { dependentRequired: {} } } }, "tool.properties.a.dependentRequired"],
    [{ propertyNames: {} }, "tool.propertyNames"],
    [{ type: "array", uniqueItems: true, items: { type: "string" } }, "tool.uniqueItems"],
    [{ type: "array", uniqueItems: true, items: { enum: [[]] } }, "tool.uniqueItems"],
    [{ type: "string", nullable: true }, "tool.nullable"],
    [{ multipleOf: 0.1 }, "tool.multipleOf"],
    [{ enum: [] }, "nothing can satisfy"],
    [{ type: "integer", minimum: 1.2, maximum: 1.8 }, "nothing can satisfy"],
    [{ type: "object", required: ["a"], maxProperties: 0 }, "nothing can satisfy"],
    [
      { type: "object", properties: { a: {} }, additionalProperties: false, minProperties: 2 },
      "nothing can satisfy",
    ],
    [{ $ref: "#/$defs/none" }, "tool.$ref"],
    [{ $ref: "https://example.org/other.json" }, "tool.$ref"],
    [{ $ref: "#none" }, "tool.$ref"],
    [{ type: "string", pattern: "(?=a)" }, "tool.pattern"],
    [{ type: "string", pattern: "^(a|bc)*d?$", minLength: 100_000 }, "product is small"],
    [{ type: "integer", minimum: "1" }, "tool.minimum"],
    [{ items: 5 }, "tool.items"],
    [{ type: "text" }, "tool.type"],
  ])("%j", (schema, message) => {
    expect(() => compileSchema(schema, "tool")).toThrow(message);
  });
});
