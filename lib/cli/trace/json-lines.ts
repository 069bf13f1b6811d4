// A trace for programs: lines of JSON, the first about the whole, then one for each token, and last the statistics.

import { expertsOf, type Recording, weightsOf } from "./recording";
import type { Statistics } from "./statistics";

export function* traceLines(recording: Recording, statistics: Statistics): Generator<string> {
  const { model, prompt, routing, texts, isWritten } = recording;
  const { firstPosition, layers, expertCount, expertsPerToken, tokens, isKnown } = routing;
  yield line({
    type: "trace",
    model,
    prompt,
    firstPosition,
    tokens: tokens.length,
    layers,
    expertCount,
    expertsPerToken,
  });
  for (const [index, id] of tokens.entries()) {
    const token = { position: firstPosition + index, id, text: texts[index], isWritten: isWritten[index] };
    // A token that nothing is known of has no experts, not none.
    const rows = isKnown[index] === 0 ? {} : rowsOf(recording, index);
    yield line({ type: "token", ...token, ...rows });
  }
  yield line({
    type: "statistics",
    tokens: statistics.tokens,
    effectiveExperts: statistics.effectiveExperts,
    kept: orNull(statistics.kept),
    hitRates: [...statistics.hitRates],
    layers: statistics.layers.map(({ layer, counts, effectiveExperts, kept, hitRates }) => ({
      layer,
      counts: [...counts],
      effectiveExperts,
      kept: orNull(kept),
      hitRates: [...hitRates],
    })),
  });
}

/** One row for each layer. */
function rowsOf({ routing }: Recording, token: number): { experts: number[][]; weights: number[][] } {
  const layers = [...routing.layers.keys()];
  return {
    experts: layers.map((layer) => [...expertsOf(routing, token, layer)]),
    // Nine digits are every bit of a float.
    weights: layers.map((layer) =>
      [...weightsOf(routing, token, layer)].map((weight) => Number(weight.toPrecision(9))),
    ),
  };
}

function orNull(value: number): number | null {
  return Number.isNaN(value) ? null : value;
}

function line(value: object): string {
  return `${JSON.stringify(value)}\n`;
}
