// A conversation that outlives its model. Run with: node examples/save-and-restore.mjs
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { demoModelPath, loadModel } from "k2-native";

const folder = await mkdtemp(join(tmpdir(), "k2-example-"));
const file = join(folder, "conversation.k2");
try {
  const model = await loadModel(demoModelPath);
  const chat = model.createChat({ temperature: 0, maxTokens: 200 });
  console.log("->", (await chat.send("What is the capital of France?").reply()).text);
  await chat.save(file);
  await model.dispose();

  // As after a restart: nothing is left but the file.
  const again = await loadModel(demoModelPath);
  const restored = await again.restoreChat(file, { temperature: 0, maxTokens: 200 });
  const reply = await restored.send("And of Italy?").reply();
  console.log("->", reply.text);
  const { promptTokens, cachedTokens, completionTokens } = reply.usage;
  console.log(`${cachedTokens} of ${promptTokens} tokens of the prompt came from the file`);
  console.log(`${reply.finishReason} after ${completionTokens} tokens`);
  await again.dispose();
} finally {
  await rm(folder, { recursive: true, force: true });
}
