// Answers as values: JSON of a schema, one of some words, a match of a pattern. Each is enforced while it is sampled.
// Run with: node examples/structured-output.mjs
import { demoModelPath, loadModel } from "k2-native";

const schema = {
  type: "object",
  properties: {
    city: { type: "string", maxLength: 20 },
    temperature: { type: "integer", minimum: -30, maximum: 45 },
    sky: { enum: ["clear", "cloudy", "rainy"] },
  },
  required: ["city", "temperature", "sky"],
};

const model = await loadModel(demoModelPath);
try {
  const chat = model.createChat({ temperature: 0, thinking: false });
  const formats = {
    report: { type: "json_schema", schema },
    mood: { type: "choice", choices: ["happy", "sad"] },
    date: { type: "regex", pattern: "20[0-9]{2}-(0[1-9]|1[0-2])" },
  };
  for (const [name, responseFormat] of Object.entries(formats)) {
    const reply = await chat.send(`Make up a ${name}.`, { responseFormat, maxTokens: 100 }).reply();
    console.log(name, reply.value ?? reply.invalid);
    if (name === "date") console.log(`${reply.finishReason} after ${reply.usage.completionTokens} tokens`);
  }
} finally {
  await model.dispose();
}
