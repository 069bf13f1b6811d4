// Streams an answer of the demo model: thinking dimmed, the answer as it is. Run with: node examples/stream.mjs
import { demoModelPath, loadModel } from "k2-native";

const model = await loadModel(demoModelPath);
try {
  const chat = model.createChat({ temperature: 0 });
  const stream = chat.send("Hello", { maxTokens: 200 });
  for await (const part of stream) {
    if (part.type === "reasoning-delta") process.stdout.write(`\u001b[2m${part.text}\u001b[22m`);
    if (part.type === "text-delta") process.stdout.write(part.text);
  }
  const { finishReason, usage } = await stream.reply();
  console.log(`\n${finishReason} after ${usage.completionTokens} tokens`);
} finally {
  await model.dispose();
}
