// Text files of a checkpoint that are damaged: each is refused by name, in one printable line, without being read whole.

import { cpSync, truncateSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { openCheckpoint } from "../../lib/checkpoint/open-checkpoint";
import { demoModelPath } from "../../lib/model/demo-model";
import { readModelText } from "../../lib/model/text";
import { Tokenizer } from "../../lib/tokenizer/tokenizer";
import { temporaryFolder } from "../support/write-checkpoint";

const { folder, remove } = temporaryFolder();
afterAll(remove);

it("refuses a huge chat_template.jinja by its size", async () => {
  cpSync(demoModelPath, folder, { recursive: true });
  // Above 2 GiB reading it whole fails, below it takes that much memory.
  truncateSync(join(folder, "chat_template.jinja"), 3 * 2 ** 30);
  const options = { onProgress: undefined, signal: undefined, chatTemplate: undefined };
  await expect(readModelText(await openCheckpoint(folder), options)).rejects.toMatchObject({
    code: "invalid-checkpoint",
    message: "Expected at most 1048576 bytes for chat_template.jinja, got 3221225472 bytes",
  });
});

it("quotes a damaged tokenizer_config.json in one printable line", async () => {
  const configuration = Buffer.from('{"a":\n\n\x1b[31m\u202eevil');
  const loading = Tokenizer.load({ vocabulary: new Uint8Array(0), configuration }, { vocabSize: 1 });
  await expect(loading).rejects.toMatchObject({
    code: "invalid-checkpoint",
    message: expect.stringMatching(/^Expected JSON in UTF-8 for tokenizer_config\.json, got [\x20-\x7e]+$/),
  });
});
