// Recordings for tests of what is made of them: repeatable choices, with some tokens that nothing is known of.

import type { Recording } from "../../../../lib/cli/trace/recording";
import type { Routing } from "../../../../lib/index";

export interface Shape {
  tokens: number;
  layers: number;
  experts: number;
  chosen: number;
  /** Tokens whose routing is absent. */
  unknown?: readonly number[];
  texts?: readonly string[];
}

/** Experts that often stay for the next token. */
export function makeRecording({ tokens, layers, experts, chosen, unknown = [], texts }: Shape): Recording {
  let state = 1;
  const random = (below: number) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  const width = layers * chosen;
  const routing: Routing = {
    layers: Array.from({ length: layers }, (_, index) => index + 1),
    expertCount: experts,
    expertsPerToken: chosen,
    firstPosition: 40,
    tokens: Int32Array.from({ length: tokens }, (_, index) => 100 + index),
    experts: new Uint16Array(tokens * width).fill(65535),
    weights: new Float32Array(tokens * width),
    isKnown: new Uint8Array(tokens).fill(1),
  };
  for (let layer = 0; layer < layers; layer += 1) {
    let before: number[] = [];
    for (let token = 0; token < tokens; token += 1) {
      const set = new Set(before.filter(() => random(3) === 0));
      while (set.size < chosen) set.add(random(experts));
      before = [...set].sort((a, b) => a - b);
      if (unknown.includes(token)) continue;
      const first = token * width + layer * chosen;
      routing.experts.set(before, first);
      routing.weights.set(
        before.map(() => (1 + random(100)) / 64),
        first,
      );
    }
  }
  for (const token of unknown) routing.isKnown[token] = 0;
  return {
    model: "/models/Kimi-K2-Thinking",
    prompt: "Why?",
    routing,
    texts: Array.from({ length: tokens }, (_, index) => texts?.[index % texts.length] ?? ` word${index}`),
    isWritten: Array.from({ length: tokens }, (_, index) => index % 5 !== 4),
  };
}
