// What the script of the page has to know: the numbers behind the figures, and where their cells stand.

import type { LoadLayout } from "./load-figure";
import type { PathLayout } from "./path-figure";
import { type Recording, weightsOf } from "./recording";
import type { Statistics } from "./statistics";
import type { StayLayout } from "./stay-figure";

export interface Layouts {
  readonly path: PathLayout;
  readonly stay: StayLayout | undefined;
  readonly load: LoadLayout;
}

/** For the tokens that are drawn. */
export function scriptData(
  recording: Recording,
  { layers, tokens }: Statistics,
  { path, stay, load }: Layouts,
): object {
  const { routing, texts } = recording;
  const { columns, column, top, pitch } = path;
  const numbers = columns * routing.layers.length * routing.expertsPerToken;
  const experts = routing.experts.slice(0, numbers);
  return {
    layers: routing.layers,
    expertsPerToken: routing.expertsPerToken,
    firstPosition: routing.firstPosition,
    tokens,
    texts: texts.slice(0, columns),
    isKnown: [...routing.isKnown.subarray(0, columns)],
    experts: Buffer.from(experts.buffer).toString("base64"),
    shares: Buffer.from(weightShares(recording, columns)).toString("base64"),
    counts: layers.map(({ counts }) => [...counts]),
    grids: {
      path: { columns, left: 0, top, width: column, height: pitch },
      load: {
        columns: routing.expertCount,
        left: load.left,
        top: load.top,
        width: load.cell,
        height: load.row,
      },
      ...(stay && {
        stay: { columns, left: stay.left, top: stay.top, width: stay.column, height: stay.row },
      }),
    },
  };
}

/** Each weight against the sum of its token's, in 255ths. */
function weightShares({ routing }: Recording, tokens: number): Uint8Array {
  const { layers, expertsPerToken } = routing;
  const shares = new Uint8Array(tokens * layers.length * expertsPerToken);
  let next = 0;
  for (let token = 0; token < tokens; token += 1) {
    for (let layer = 0; layer < layers.length; layer += 1) {
      const weights = weightsOf(routing, token, layer);
      const sum = weights.reduce((total, weight) => total + weight, 0);
      for (const weight of weights) shares[next++] = sum === 0 ? 0 : Math.round((255 * weight) / sum);
    }
  }
  return shares;
}
