// Arrays whose items come from a short list and never twice. What was taken is part of the state; where the list is too
// long for that, items come in the order of the list, which loses no set of items.

import type { GrammarBuilder } from "./program";

/** Lists up to this length are taken from in any order: 2^n sets of items that are there. */
const LONGEST_FREE = 8;
const MOST_STEPS = 20_000;

export interface UniqueItems {
  /** JSON texts of the possible items, all different. */
  readonly texts: readonly string[];
  readonly minItems: number;
  /** Infinity: no limit. */
  readonly maxItems: number;
  /** Between the items. */
  readonly comma: number;
}

/** What stands between the brackets, white space at the ends aside; undefined where that would be too much. */
export function uniqueNode(builder: GrammarBuilder, items: UniqueItems): number | undefined {
  const { texts, minItems, comma } = items;
  const n = texts.length;
  if (minItems > n) return builder.fail;
  const maxItems = Math.min(items.maxItems, n);
  const isFree = n <= LONGEST_FREE;
  // In order only the last item and the number of items matter, the latter as far as a limit looks.
  const isCounted = minItems > 0 || maxItems < n;
  if (!isFree && n * n * (isCounted ? maxItems + 1 : 1) > MOST_STEPS) return undefined;
  const known = new Map<string, number>();
  const rest = (taken: number, last: number, count: number): number => {
    const key = isFree ? String(taken) : `${last},${isCounted ? count : Math.min(count, 1)}`;
    const before = known.get(key);
    if (before !== undefined) return before;
    const parts = count >= minItems ? [builder.empty] : [];
    for (let i = isFree ? 0 : last + 1; i < n && count < maxItems; i++) {
      if (isFree && (taken >> i) & 1) continue;
      const item = builder.seq(count === 0 ? builder.empty : comma, builder.byteLiteral(texts[i]!));
      parts.push(builder.seq(item, rest(isFree ? taken | (1 << i) : 0, i, count + 1)));
    }
    const node = builder.alt(...parts);
    known.set(key, node);
    return node;
  };
  return rest(0, -1, 0);
}
