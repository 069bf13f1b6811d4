// Random schemas against ajv: every text that a grammar writes is valid, and nothing that ajv refuses is ever accepted.

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { K2Error } from "../../../lib/errors";
import type { GrammarProgram } from "../../../lib/grammar/program";
import { compileSchema } from "../../../lib/grammar/schema";
import { accepts } from "../../support/grammar-matcher";
import { decodeBytes, randomText } from "../../support/grammar-texts";
import { seededRandom } from "../../support/random";
import { type Validator, validatorOf } from "../../support/tool-schemas";

const key = fc.constantFrom("a", "b", "ab", "é", "a b", '"', "constructor", "type");
const small = fc.integer({ min: -20, max: 120 });
const limit = fc.oneof(
  small,
  fc.double({ min: -1e3, max: 1e3, noNaN: true }),
  fc.constantFrom(0, -0, 1e300, 2 ** 53 + 2),
);
const pattern = fc.constantFrom(
  "^[a-z]+$",
  "^a|b$",
  "[0-9]{2}",
  "^(a|bc)*$",
  "^\\w+-\\d{1,3}$",
  "é.?",
  "^.{2}$",
  "",
  '^[^"\\\\]*$',
);
const value = fc.jsonValue({ maxDepth: 1, noUnicodeString: false });

const { schema } = fc.letrec<{
  schema: unknown;
  leaf: unknown;
  list: unknown;
  object: unknown;
  mixed: unknown;
}>((tie) => ({
  leaf: fc.oneof(
    fc.record({
      type: fc.constantFrom("null", "boolean", "string", ["string", "null"], ["integer", "string"]),
    }),
    fc.record(
      {
        type: fc.constantFrom("integer", "number"),
        minimum: limit,
        maximum: limit,
        exclusiveMinimum: limit,
        exclusiveMaximum: limit,
        multipleOf: fc.constantFrom(1, 2, 7, 10),
      },
      { requiredKeys: ["type"] },
    ),
    fc.record(
      { type: fc.constant("string"), minLength: fc.nat(4), maxLength: fc.nat(9), pattern },
      { requiredKeys: ["type"] },
    ),
    fc.record({ enum: fc.array(value, { minLength: 1, maxLength: 4 }) }),
    fc.record({ const: value }),
    fc.constantFrom({}, true, { $ref: "#" }),
    fc.record({
      type: fc.constant("array"),
      items: fc.record({ enum: fc.array(fc.constantFrom("a", "b", 1, null, true, 2.5), { minLength: 1 }) }),
      uniqueItems: fc.constant(true),
      minItems: fc.nat(3),
      maxItems: fc.nat(5),
    }),
  ),
  list: fc.record(
    {
      type: fc.constant("array"),
      items: tie("schema"),
      prefixItems: fc.array(tie("schema"), { minLength: 1, maxLength: 2 }),
      minItems: fc.nat(2),
      maxItems: fc.nat(4),
    },
    { requiredKeys: ["type"] },
  ),
  object: fc.record(
    {
      type: fc.constant("object"),
      properties: fc.dictionary(key, tie("schema"), { maxKeys: 3 }),
      required: fc.uniqueArray(key, { maxLength: 2 }),
      additionalProperties: tie("schema"),
      minProperties: fc.nat(3),
      maxProperties: fc.nat(4),
    },
    { requiredKeys: ["type"] },
  ),
  mixed: fc.oneof(
    fc.record({ anyOf: fc.array(tie("schema"), { minLength: 1, maxLength: 3 }) }),
    fc.record({ allOf: fc.array(tie("schema"), { minLength: 1, maxLength: 2 }) }),
    fc.record({ oneOf: fc.array(tie("schema"), { minLength: 1, maxLength: 2 }) }),
  ),
  schema: fc.oneof({ depthSize: "small" }, tie("leaf"), tie("list"), tie("object"), tie("mixed")),
}));

function tryCompile(candidate: unknown): GrammarProgram | undefined {
  try {
    return compileSchema(candidate, "schema");
  } catch (error) {
    // Whatever cannot be enforced is refused by name; nothing else may be thrown.
    if (error instanceof K2Error && error.code === "invalid-argument") return undefined;
    throw error;
  }
}

/** The value with one thing changed. */
function mutated(original: unknown, random: () => number): unknown {
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)]!;
  const other = () => pick<unknown>([null, true, 0, -1, 1.5, 1e9, "", "a", "zz", "é", [], {}, [1], { a: 1 }]);
  if (typeof original !== "object" || original === null || random() < 0.2) {
    if (typeof original === "number")
      return pick<unknown>([original + 1, original - 1, -original, original / 3, other()]);
    if (typeof original === "string")
      return pick<unknown>([`${original}a`, original.slice(1), `-${original}`, other()]);
    return other();
  }
  if (Array.isArray(original)) {
    if (original.length === 0 || random() < 0.3) return [...original, other()];
    const at = Math.floor(random() * original.length);
    return random() < 0.3 ? original.toSpliced(at, 1) : original.with(at, mutated(original[at], random));
  }
  const entries = Object.entries(original);
  if (entries.length === 0 || random() < 0.3)
    return Object.fromEntries([...entries, [pick(["a", "b", "new"]), other()]]);
  const at = Math.floor(random() * entries.length);
  if (random() < 0.3) return Object.fromEntries(entries.toSpliced(at, 1));
  return Object.fromEntries(entries.with(at, [entries[at]![0], mutated(entries[at]![1], random)]));
}

function check(candidate: unknown, program: GrammarProgram, validate: Validator, seed: number): void {
  const random = seededRandom(seed + 1);
  for (let i = 0; i < 8; i++) {
    const bytes = randomText(program, random);
    if (bytes === undefined || bytes.length > 3000) continue;
    const text = decodeBytes(bytes);
    const written = JSON.parse(text) as unknown;
    const shown = () => `${JSON.stringify(candidate)}: ${text}`;
    const reason = validate(written);
    if (reason !== undefined) throw new Error(`written, but ${reason}: ${shown()}`);
    if (!accepts(program, text)) throw new Error(`written, but not read: ${shown()}`);
    let changed = written;
    for (let round = 0; round < 3; round++) {
      changed = mutated(changed, random);
      const other = JSON.stringify(changed);
      if (validate(changed) === undefined || !accepts(program, other)) continue;
      throw new Error(`accepted, but invalid: ${JSON.stringify(candidate)}: ${other}`);
    }
  }
}

describe("random schemas", () => {
  it("never let anything through that ajv refuses", { timeout: 300_000 }, () => {
    let compiled = 0;
    let all = 0;
    fc.assert(
      fc.property(schema, fc.nat(), (candidate, seed) => {
        all += 1;
        const program = tryCompile(candidate);
        if (program === undefined) return;
        compiled += 1;
        check(candidate, program, validatorOf(candidate), seed);
      }),
      { numRuns: Number(process.env.K2_FUZZ_RUNS ?? 200), seed: Number(process.env.K2_FUZZ_SEED ?? 20_26) },
    );
    expect(compiled / all).toBeGreaterThan(0.4);
  });
});
