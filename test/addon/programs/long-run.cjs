// A run of 300 steps on a real model, for long-run.test.ts: every prompt is really prefilled, but what the model writes
// comes from a script, so that transcript and counts are known. Prints what happened as JSON.

const { join } = require("node:path");

const [packagePath, modelPath, scenario] = process.argv.slice(2);
const { Chat, loadModel } = require(packagePath);
const { createChatEngine } = require(join(packagePath, "dist", "model", "chat-engine.js"));

const STEPS = 300;
const isCompacted = scenario === "compacted";

/** The session of a model whose samples are written in advance. */
class ScriptedSession {
  constructor(session, scripts) {
    this.session = session;
    this.scripts = scripts;
  }
  get tokens() {
    return this.session.tokens;
  }
  get position() {
    return this.session.position;
  }
  get timings() {
    return this.session.timings;
  }
  prefill(ids, options) {
    return this.session.prefill(ids, options);
  }
  rewind(position) {
    return this.session.rewind(position);
  }
  dispose() {
    this.session.dispose();
  }
  decode() {
    const { session } = this;
    const ids = this.scripts();
    const source = { end: undefined, [Symbol.asyncIterator]: stream };
    async function* stream() {
      await session.prefill(ids);
      for (const id of ids) yield { id };
      source.end = "stop";
    }
    return source;
  }
}

/** Bytes of JavaScript's objects and of the process, without garbage. */
function memory() {
  globalThis.gc();
  globalThis.gc();
  const { heapUsed, rss } = process.memoryUsage();
  return { heapUsed, rss };
}

async function main() {
  const contextTokens = isCompacted ? 2048 : 32_768;
  const model = await loadModel(modelPath, { device: "cpu", threads: 2, contextTokens });
  const real = createChatEngine(model);
  const { tokenizer } = real;
  const control = (name) => tokenizer.controlId(name);
  const text = (words) => [...tokenizer.encode(words)];
  let step = 0;
  const script = () => {
    const k = step++;
    const thought = text(`Step ${k}.`);
    if (k === STEPS - 1)
      return [control("<think>"), control("</think>"), ...text(`Done after ${k}.`), control("<|im_end|>")];
    return [
      control("<think>"),
      ...thought,
      control("</think>"),
      control("<|tool_calls_section_begin|>"),
      control("<|tool_call_begin|>"),
      ...text(`functions.f:${k}`),
      control("<|tool_call_argument_begin|>"),
      ...text(`{"a":${k}}`),
      control("<|tool_call_end|>"),
      control("<|tool_calls_section_end|>"),
      control("<|im_end|>"),
    ];
  };
  const engine = {
    ...real,
    createSession: () => new ScriptedSession(model.createSession(), script),
  };
  const tool = { type: "function", function: { name: "f" }, execute: ({ a }) => `r${a}` };
  const chat = new Chat(engine, { tools: [tool] });

  const memories = [];
  const run = chat.run("Look at everything.", {
    maxSteps: STEPS,
    ...(isCompacted ? { compact: {} } : {}),
    onStep: ({ index }) => {
      if (index % 50 === 0) memories.push(memory());
    },
  });
  const compactions = [];
  for await (const part of run)
    if (part.type === "compaction") compactions.push({ ...part, before: step + 1 });
  const { steps, finishReason } = await run.result();
  const { prefillTokens } = chat.timings;
  const facts = {
    finishReason,
    compactions,
    memories,
    prefillTokens,
    cacheBytesPerToken: model.memory.cacheBytes / contextTokens,
    task: chat.messages[0].content,
    steps: steps.map(({ reply, results }) => ({
      usage: reply.usage,
      message: reply.message,
      results: results.map(({ id, content }) => ({ id, content })),
    })),
  };
  await model.dispose();
  console.log(JSON.stringify(facts));
}

main();
