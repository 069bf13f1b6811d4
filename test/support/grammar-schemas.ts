// Schemas that use every supported keyword, for tests that write and read their texts.

export const OWN_SCHEMAS: readonly unknown[] = [
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
  { type: "object", minProperties: 3 },
  { type: "object", additionalProperties: { type: "integer" }, minProperties: 1, maxProperties: 2 },
  {
    properties: { a: { type: "null" }, b: { type: "boolean" } },
    required: ["b"],
    additionalProperties: { type: "string", maxLength: 3 },
    minProperties: 3,
    maxProperties: 4,
  },
  { properties: { a: {}, b: {}, c: {} }, required: ["c"], minProperties: 2, maxProperties: 2 },
  {
    properties: { a: { const: 1 } },
    required: ["a", "z"],
    additionalProperties: { type: "null" },
    maxProperties: 2,
  },
  // Hundreds of counted steps, one in the other.
  { type: "string", pattern: "^(ab|[cd]{3})+e?$", minLength: 7, maxLength: 700 },
  { enum: Array.from({ length: 600 }, (_, i) => "z".repeat(i)) },
  { type: "array", items: { enum: ["a", "b", "ab", 1] }, uniqueItems: true, minItems: 2 },
  {
    type: "array",
    items: { enum: Array.from({ length: 12 }, (_, i) => i * i) },
    uniqueItems: true,
    maxItems: 4,
  },
];
