// The published tokenizer, where the folder with shared data lies beside the project.

import { existsSync } from "node:fs";
import { join } from "node:path";
import { Tokenizer } from "../../../lib/tokenizer/tokenizer";

const FOLDER = join(__dirname, "../../../../shared/kimi-tokenizer");

export const hasKimiTokenizer = existsSync(join(FOLDER, "tiktoken.model"));

/** Why tests that need it are skipped. */
export const NO_KIMI_TOKENIZER = "the published tokenizer is not in ../shared/kimi-tokenizer";

export function loadKimiTokenizer(): Promise<Tokenizer> {
  return Tokenizer.load(FOLDER, { vocabSize: 163_840 });
}
