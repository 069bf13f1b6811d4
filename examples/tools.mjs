// A tool that is executed whenever the model calls it. Run with: node examples/tools.mjs
import { demoModelPath, loadModel } from "k2-native";

const weather = {
  type: "function",
  function: {
    name: "get_weather",
    description: "Get the current weather in a city",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
  execute: ({ city }) => ({ city, temperature: 21, unit: "celsius", condition: "sunny" }),
};

const model = await loadModel(demoModelPath);
try {
  const chat = model.createChat({ tools: [weather], temperature: 0 });
  const run = chat.run("What is the weather in Rome?", { maxSteps: 5, maxTokens: 300 });
  for await (const part of run) {
    if (part.type === "tool-call-end") console.log("calls", part.toolCall.function.arguments);
    if (part.type === "tool-result") console.log("gets", part.content);
    if (part.type === "text-delta") process.stdout.write(part.text);
  }
  const { finishReason, steps } = await run.result();
  console.log(`\n${finishReason} after ${steps.length} steps`);
} finally {
  await model.dispose();
}
