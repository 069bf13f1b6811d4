// An agent that works through a list of questions in one run, far longer than its context: the oldest steps are left
// out whenever it gets full. Run with: node examples/agent.mjs
import { demoModelPath, loadModel } from "k2-native";

const people = { Ana: "Lisbon", Bob: "Oslo", Marguerite: "Reykjavik" };
const skies = { Lisbon: [24, "sunny"], Oslo: [-3, "snowy"], Reykjavik: [2, "windy"] };

const lookUp = (name, description, key, execute) => ({
  type: "function",
  function: {
    name,
    description,
    parameters: { type: "object", properties: { [key]: { type: "string" } }, required: [key] },
  },
  execute,
});
const tools = [
  lookUp("find_contact", "Look up a person", "name", ({ name }) => ({
    name,
    phone: "555-0123",
    city: people[name],
  })),
  lookUp("get_weather", "Weather in a city", "city", ({ city }) => {
    const [temp_c, sky] = skies[city];
    return { city, temp_c, sky };
  }),
];

const questions = Object.keys(people).map((name) => `What is the weather where ${name} lives?`);
questions.push(...questions, ...questions);

const model = await loadModel(demoModelPath, { contextTokens: 800 });
try {
  const chat = model.createChat({ tools, temperature: 0 });
  const [first, ...others] = questions;
  const run = chat.run(first, {
    maxTokens: 150,
    compact: { at: 0.8, keepSteps: 1 },
    // The model has answered: here is the next question. Behind the last one the run is over.
    onStep: ({ reply }) =>
      reply.finishReason === "stop" && others.length > 0
        ? [{ role: "user", content: others.shift() }]
        : undefined,
  });
  for await (const part of run) {
    if (part.type === "tool-call-end")
      console.log("calls  ", part.toolCall.id, part.toolCall.function.arguments);
    if (part.type === "tool-result") console.log("gets   ", part.content);
    if (part.type === "text-delta") process.stdout.write(part.text);
    if (part.type === "finish" && part.finishReason === "stop") console.log();
    if (part.type === "compaction") {
      console.log(
        `(${part.removedMessages} messages left out: ${part.promptTokensBefore} tokens are now ${part.promptTokensAfter})`,
      );
    }
  }
  const { finishReason, steps, usage } = await run.result();
  const { promptTokens } = await chat.contextUse();
  console.log(
    `${usage.completionTokens} tokens written; the conversation takes ${promptTokens} of ${model.contextTokens}`,
  );
  console.log(`${finishReason} after ${steps.length} steps`);
} finally {
  await model.dispose();
}
