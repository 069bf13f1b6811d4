// Random weights at high temperatures, through the real engine: whatever a grammar lets a model write is valid, and no
// text ever comes to a point where nothing can follow.

import { afterAll, describe, expect, it } from "vitest";
import { compileSchema } from "../../lib/grammar/schema";
import type { Model } from "../../lib/index";
import { GrammarMatcher } from "../support/grammar-matcher";
import { OWN_SCHEMAS } from "../support/grammar-schemas";
import { publishedSchemas, type Validator, validatorOf, whyNoSchemas } from "../support/tool-schemas";
import { hasKimiVocabulary, kimiModel, smallModel, whyNoKimiVocabulary } from "./support/grammar-models";

const MOST_TOKENS = 120;

/** Text ends soon where these come often: every token that closes something and nothing else. */
function closingTokens(model: Model): number[] {
  const closing = /^["}\]]+$/;
  const ids = Array.from({ length: model.tokenizer.baseCount }, (_, id) => id);
  return ids.filter((id) => closing.test(Buffer.from(model.tokenizer.tokenBytes(id)).toString("latin1")));
}

async function sampleText(
  model: Model,
  schema: unknown,
  options: { seed: number; temperature: number; closing: readonly number[] },
) {
  const { seed, temperature, closing } = options;
  const session = model.createSession();
  try {
    await session.prefill([model.tokenizer.baseCount]);
    // Among the tens of thousands of tokens that a string may go on with, closing ones come every few tokens.
    const bias = temperature * (Math.log(model.tokenizer.baseCount / closing.length) - 2);
    const stream = session.decode({
      grammar: compileSchema(schema, "schema"),
      temperature,
      seed,
      maxTokens: MOST_TOKENS,
      stopTokens: [],
      logitBias: Object.fromEntries(closing.map((id) => [id, bias])),
    });
    const bytes: number[] = [];
    for await (const { id } of stream) bytes.push(...model.tokenizer.tokenBytes(id));
    return { bytes: Uint8Array.from(bytes), isWhole: stream.end === "stop" };
  } finally {
    session.dispose();
  }
}

function checkText(
  schema: unknown,
  validate: Validator,
  { bytes, isWhole }: { bytes: Uint8Array; isWhole: boolean },
) {
  const matcher = new GrammarMatcher(compileSchema(schema, "schema"));
  const shown = () => `${JSON.stringify(schema)} wrote ${Buffer.from(bytes).toString()}`;
  if (!bytes.every((byte) => matcher.take(byte))) throw new Error(`no beginning of a text: ${shown()}`);
  if (!isWhole) return;
  if (!matcher.isComplete) throw new Error(`a dead end: ${shown()}`);
  const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  const reason = validate(JSON.parse(text));
  if (reason !== undefined) throw new Error(`${reason}: ${shown()}`);
}

/** Samples every schema with every seed and gives the share of texts that came to their end. */
async function checkSchemas(model: Model, schemas: readonly unknown[], seeds: readonly number[]) {
  const closing = closingTokens(model);
  let whole = 0;
  for (const [i, schema] of schemas.entries()) {
    const validate = validatorOf(schema);
    for (const seed of seeds) {
      const temperature = (i + seed) % 2 === 0 ? 1.5 : 20;
      const sampled = await sampleText(model, schema, { seed, temperature, closing });
      checkText(schema, validate, sampled);
      if (sampled.isWhole) whole += 1;
    }
  }
  return whole / (schemas.length * seeds.length);
}

if (publishedSchemas.length === 0) console.log(whyNoSchemas);
if (!hasKimiVocabulary) console.log(whyNoKimiVocabulary);

describe.each([
  { name: "a small vocabulary", make: smallModel, isHere: true, seeds: [1, 2, 3, 4] },
  { name: "Kimi's vocabulary", make: kimiModel, isHere: hasKimiVocabulary, seeds: [1] },
])("random weights with $name", ({ make, isHere, seeds }) => {
  let loaded: Promise<Model> | undefined;
  const model = () => {
    loaded ??= make();
    return loaded;
  };
  afterAll(async () => (await loaded)?.dispose());

  it.skipIf(!isHere)("write what our own schemas ask for", { timeout: 300_000 }, async () => {
    expect(await checkSchemas(await model(), OWN_SCHEMAS, seeds)).toBeGreaterThan(0.7);
  });

  it.skipIf(!isHere || publishedSchemas.length === 0)(
    "write what the published schemas ask for",
    { timeout: 600_000 },
    async () => {
      expect(publishedSchemas.length).toBe(212);
      expect(await checkSchemas(await model(), publishedSchemas, seeds)).toBeGreaterThan(0.7);
    },
  );
});
