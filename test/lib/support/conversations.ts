// Random conversations in OpenAI's shapes, for the tests of all chat layouts: names, null and list contents, parallel
// calls, results in any order, reasoning, nested schemas.

import fc from "fast-check";

export interface Family {
  name: string;
  /** Tool calls and results. */
  hasCalls: boolean;
  hasTools: boolean;
  thinks: boolean;
}

export const FAMILIES: readonly Family[] = [
  { name: "kimi-k2-instruct", hasCalls: true, hasTools: true, thinks: false },
  { name: "kimi-k2-thinking", hasCalls: true, hasTools: true, thinks: true },
  { name: "kimi-k2.5", hasCalls: true, hasTools: true, thinks: true },
  { name: "moonlight", hasCalls: false, hasTools: false, thinks: false },
  { name: "deepseek-v3", hasCalls: true, hasTools: false, thinks: false },
  { name: "deepseek-r1", hasCalls: true, hasTools: false, thinks: true },
  { name: "deepseek-v3.1", hasCalls: true, hasTools: false, thinks: true },
];

/** What a conversation is made of: `text` may be empty, `name` may not. */
export interface Words {
  text: fc.Arbitrary<string>;
  name: fc.Arbitrary<string>;
}

export interface Conversation {
  messages: unknown[];
  tools: unknown[];
}

/** Ordinary text with the characters that spoil naive templates: quotes, breaks, white space at the ends, all scripts. */
export const ORDINARY: Words = {
  text: fc.oneof(
    fc.constantFrom(
      "",
      " ",
      "\n",
      "Hello!",
      " a b ",
      '"quoted" \\n',
      "{{ x }}",
      "{% if %}",
      "über\n\n你好 🙂",
      "1.0",
    ),
    fc.string({ maxLength: 12 }),
  ),
  name: fc.constantFrom("get_weather", "ns.my-tool", "f", "ü", "a b"),
};

export function conversations(family: Family, words: Words): fc.Arbitrary<Conversation> {
  const { text, name } = words;
  const content = fc.oneof(
    text,
    fc.constant(null),
    fc.array(fc.record({ type: fc.constant("text"), text }), { maxLength: 3 }),
  );
  const speaker = fc.option(name, { nil: undefined });
  const plain = (role: string) => fc.record({ role: fc.constant(role), content, name: speaker });
  const answer = fc.record({
    role: fc.constant("assistant"),
    content,
    name: speaker,
    reasoning_content: fc.option(text, { nil: undefined }),
  });
  const task = fc
    .record({
      answer,
      calls: fc.array(
        fc.record({ id: name, name, arguments: text, result: content, speaker, order: fc.nat() }),
        {
          minLength: 1,
          maxLength: 3,
        },
      ),
    })
    .map(({ answer: message, calls }) => {
      const numbered = calls.map((call, index) => ({ ...call, id: `${call.id}#${index}` }));
      const toolCalls = numbered.map(({ id, name: tool, arguments: json }) => ({
        id,
        type: "function",
        function: { name: tool, arguments: json },
      }));
      const results = [...numbered].sort((a, b) => a.order - b.order);
      return [
        { ...message, tool_calls: toolCalls },
        ...results.map((call) => ({
          role: "tool",
          tool_call_id: call.id,
          content: call.result,
          name: call.speaker,
        })),
      ] as unknown[];
    });
  const one = fc.oneof(plain("user"), plain("user"), plain("system"), answer).map((message) => [message]);
  const steps = family.hasCalls ? fc.oneof(one, one, task as fc.Arbitrary<unknown[]>) : one;
  return fc.record({
    messages: fc.array(steps as fc.Arbitrary<unknown[]>, { maxLength: 6 }).map((parts) => parts.flat()),
    tools: family.hasTools ? tools(words) : fc.constant([]),
  });
}

function tools({ text, name }: Words): fc.Arbitrary<unknown[]> {
  const { schema } = fc.letrec<{ schema: unknown }>((tie) => ({
    schema: fc.oneof(
      { maxDepth: 3 },
      fc.record({ type: fc.constantFrom("string", "integer", "boolean") }),
      fc.record({ type: fc.constant("string"), description: text, enum: fc.array(text, { maxLength: 2 }) }),
      fc.record({ type: fc.constant("array"), items: tie("schema"), description: text }),
      fc.record({
        type: fc.constant("object"),
        properties: fc.dictionary(name, tie("schema"), { maxKeys: 3 }),
        required: fc.array(name, { maxLength: 2 }),
        additionalProperties: fc.constantFrom(true, false),
      }),
    ),
  }));
  const tool = fc.record({
    name,
    description: text,
    parameters: fc.record({
      type: fc.constant("object"),
      properties: fc.dictionary(name, schema, { maxKeys: 3 }),
    }),
  });
  return fc
    .uniqueArray(tool, { selector: (one) => one.name, maxLength: 3 })
    .map((list) => list.map((one) => ({ type: "function", function: one })));
}
