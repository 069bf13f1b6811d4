// Encodings that the Python oracle made (tools/oracle/tokenizer_oracle.py), for two small vocabularies.

import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";

import { loadSmall, type SmallVocabulary, smallVocabularies } from "./small-vocabularies";

function unpack(packed: string): number[] {
  const bytes = Buffer.from(packed, "base64");
  return Array.from({ length: bytes.length / 2 }, (_, i) => bytes.readUInt16LE(2 * i));
}

describe.each(smallVocabularies)("$name vocabulary", (vocabulary: SmallVocabulary) => {
  const name = vocabulary.name as "trained" | "shuffled";

  it("encodes every golden text", async () => {
    const tokenizer = await loadSmall(name);
    expect(vocabulary.texts.length).toBe(1000);
    for (const [text, packed] of vocabulary.texts) {
      expect([...tokenizer.encode(text)], JSON.stringify(text)).toEqual(unpack(packed));
    }
  });

  it.each(vocabulary.longTexts)(
    "cuts long texts where the published tokenizer does: $parts",
    async (golden) => {
      const tokenizer = await loadSmall(name);
      const text = golden.parts.map(([part, count]) => part.repeat(count)).join("");
      const ids = tokenizer.encode(text);
      expect(ids.length).toBe(golden.count);
      const digest = createHash("sha256").update(Buffer.from(ids.buffer, ids.byteOffset, ids.byteLength));
      expect(digest.digest("hex")).toBe(golden.sha256);
    },
  );
});
