// Tiny models with random weights for sampling with grammars: with the small vocabulary of the goldens, and with Kimi's own
// where it lies beside the project.

import { copyFileSync, existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { loadModel, type Model } from "../../../lib/index";
import { configuration, modelFile, smallVocabulary, tokensOf } from "../../lib/tokenizer/small-vocabularies";
import { makeTensors, temporaryFolder, tinyConfig, writeCheckpoint } from "../../support/write-checkpoint";

const KIMI = join(__dirname, "../../../../shared/kimi-tokenizer");
export const hasKimiVocabulary = existsSync(join(KIMI, "tiktoken.model"));
export const whyNoKimiVocabulary = "skipped: Kimi's tokenizer is not in ../shared/kimi-tokenizer";

const CONTEXT = 512;

async function randomModel(baseCount: number, writeTokenizer: (folder: string) => void): Promise<Model> {
  const { folder, remove } = temporaryFolder();
  try {
    const config = tinyConfig({
      vocab_size: baseCount + 256,
      num_hidden_layers: 1,
      bos_token_id: baseCount,
      eos_token_id: baseCount + 2,
      max_position_embeddings: CONTEXT,
      rope_scaling: undefined,
    });
    writeCheckpoint(folder, { config, tensors: makeTensors(config) });
    writeTokenizer(folder);
    return await loadModel(folder, { device: "cpu", threads: 1, contextTokens: CONTEXT });
  } finally {
    // Mapped files live on until the model is disposed.
    remove();
  }
}

export function smallModel(): Promise<Model> {
  const vocabulary = smallVocabulary("trained");
  const baseCount = tokensOf(vocabulary).length;
  return randomModel(baseCount, (folder) => {
    writeFileSync(join(folder, "tiktoken.model"), modelFile(vocabulary));
    writeFileSync(join(folder, "tokenizer_config.json"), configuration(baseCount));
  });
}

export function kimiModel(): Promise<Model> {
  return randomModel(163_584, (folder) => {
    for (const name of ["tiktoken.model", "tokenizer_config.json"])
      copyFileSync(join(KIMI, name), join(folder, name));
  });
}
