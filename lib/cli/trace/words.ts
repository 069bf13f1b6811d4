// The statistics of a trace as sentences, the same in the page and at the terminal.

import { formatInteger, plural } from "../format";
import type { Recording } from "./recording";
import type { Statistics } from "./statistics";

export interface Finding {
  readonly title: string;
  readonly text: string;
}

/** Sizes of a cache that are worth a sentence or a row: doubling from K on, and at last all experts. */
export function cacheSizes(expertsPerToken: number, expertCount: number): number[] {
  const sizes: number[] = [];
  for (let size = expertsPerToken; size < expertCount; size *= 2) sizes.push(size);
  return [...sizes, expertCount];
}

/** "12 %"; NaN, which stands for nothing to count, as "-". */
export function percent(share: number): string {
  return Number.isNaN(share) ? "-" : `${Math.round(100 * share)} %`;
}

/** What was traced, in one sentence. */
export function scope({ routing, isWritten }: Recording, { tokens }: Statistics): string {
  const { layers, expertCount, expertsPerToken } = routing;
  const written = isWritten.filter(Boolean).length;
  const read = isWritten.length - written;
  const unknown = isWritten.length - tokens;
  const parts = [
    `${plural(written, "token")} that the model wrote`,
    ...(read > 0 ? [`${formatInteger(read)} that it read`] : []),
  ];
  return (
    `${parts.join(" and ")}, in ${plural(layers.length, "layer")} of ${plural(expertCount, "expert")}, ` +
    `${formatInteger(expertsPerToken)} for each token.` +
    (unknown > 0 ? ` For ${formatInteger(unknown)} of them nothing was computed.` : "")
  );
}

/** The most telling ones; fewer where there is too little to count. */
export function findings({ routing }: Recording, statistics: Statistics): Finding[] {
  const { expertCount, expertsPerToken } = routing;
  const { layers, kept, hitRates, effectiveExperts } = statistics;
  const byChance = percent(expertsPerToken / expertCount);
  const unused = layers.reduce((sum, { ranking }) => sum + expertCount - ranking.length, 0) / layers.length;
  const busiest = busiestExpert(statistics);
  const found = [
    {
      title: `As even as ${decimal(effectiveExperts)} of ${expertCount} experts`,
      text:
        `In a layer, the load is spread as if ${decimal(effectiveExperts)} of the ${expertCount} experts shared it ` +
        `evenly. ${unused === 0 ? "All of them are used." : `On average ${decimal(unused)} are never used.`}`,
    },
    {
      title: `Busiest: expert ${busiest.expert} of layer ${busiest.layer}`,
      text: `It works on ${percent(busiest.share)} of the tokens. An even load would give every expert ${byChance}.`,
    },
  ];
  if (!Number.isNaN(kept)) {
    found.push({
      title: `${percent(kept)} stay from token to token`,
      text:
        `Of the ${expertsPerToken} experts of a token, ${(kept * expertsPerToken).toFixed(1)} worked on the token ` +
        `before too. By chance it would be ${byChance}.`,
    });
  }
  const sizes = cacheSizes(expertsPerToken, expertCount).slice(0, -1);
  const typical = sizes[Math.floor(sizes.length / 2)];
  if (typical !== undefined) {
    const hits = sizes.map((size) => `${formatInteger(size)} hits ${percent(hitRates[size]!)}`);
    found.push({
      title: `A cache of ${formatInteger(typical)} experts hits ${percent(hitRates[typical]!)}`,
      text:
        `If each layer kept only the experts used last, a cache of ${hits.join(", of ")} of the choices. ` +
        "The first use of an expert is a miss.",
    });
  }
  return found;
}

function busiestExpert({ layers, tokens }: Statistics): { layer: number; expert: number; share: number } {
  const tops = layers.map(({ layer, counts, ranking }) => {
    const expert = ranking[0]!;
    return { layer, expert, share: counts[expert]! / tokens };
  });
  return tops.reduce((best, one) => (one.share > best.share ? one : best));
}

/** 3.7, but 214: a fraction says nothing about a large number. */
function decimal(value: number): string {
  return value < 20 ? value.toFixed(1) : formatInteger(value);
}
