// What a cache of experts would hit, against its size: the mean of the layers, the worst and the best of them, and what
// chance would give.

import type { Recording } from "./recording";
import type { Statistics } from "./statistics";
import { number, svg, text } from "./svg";
import { cacheSizes, percent } from "./words";

const LEFT = 56;
const RIGHT = 120;
const TOP = 12;
const PLOT_WIDTH = 560;
const PLOT_HEIGHT = 220;
const LEAST_TICK_DISTANCE = 36;

export function cacheFigure({ routing }: Recording, { layers, hitRates }: Statistics): string {
  const { expertCount, expertsPerToken } = routing;
  const sizes = Array.from(
    { length: expertCount - expertsPerToken + 1 },
    (_, index) => expertsPerToken + index,
  );
  const x = (size: number) =>
    LEFT + (PLOT_WIDTH * (size - expertsPerToken)) / Math.max(1, expertCount - expertsPerToken);
  const y = (rate: number) => TOP + PLOT_HEIGHT * (1 - rate);
  const points = (rate: (size: number) => number, order = sizes) =>
    order.map((size) => `${number(x(size))} ${number(y(rate(size)))}`).join("L");
  const best = (size: number) => Math.max(...layers.map((layer) => layer.hitRates[size]!));
  const worst = (size: number) => Math.min(...layers.map((layer) => layer.hitRates[size]!));
  const bottom = TOP + PLOT_HEIGHT;
  const right = LEFT + PLOT_WIDTH;
  const ends = [
    { label: "measured", rate: hitRates[expertCount]! },
    { label: "by chance", rate: 1 },
  ].sort((a, b) => b.rate - a.rate);
  return svg({
    id: "cache",
    title: "What a cache of experts would hit",
    description: cacheSizes(expertsPerToken, expertCount)
      .map((size) => `${size} experts: ${percent(hitRates[size]!)}`)
      .join(", "),
    width: right + RIGHT,
    height: bottom + 44,
    body: [
      ...[0, 0.25, 0.5, 0.75, 1].map(
        (rate) =>
          `<path class="grid" d="M${LEFT} ${number(y(rate))}H${right}"/>` +
          text(percent(rate), LEFT - 8, y(rate) + 4, 'text-anchor="end"'),
      ),
      ...ticks(expertsPerToken, expertCount, x).map((size) =>
        text(String(size), x(size), bottom + 18, 'text-anchor="middle"'),
      ),
      text("experts that a layer's cache holds", LEFT + PLOT_WIDTH / 2, bottom + 38, 'text-anchor="middle"'),
      `<path class="spread" d="M${points(best)}L${points(worst, [...sizes].reverse())}Z"/>`,
      `<path class="chance" d="M${points((size) => size / expertCount)}"/>`,
      `<path class="measured" d="M${points((size) => hitRates[size]!)}"/>`,
      // Both lines end near each other: their names stand one above the other.
      ...ends.map(({ label, rate }, index) =>
        text(
          label,
          right + 10,
          Math.max(y(rate), TOP + 16 * index) + 4,
          label === "measured" ? 'class="measured-name"' : "",
        ),
      ),
    ],
  });
}

/** Doubling sizes, as far as their names do not touch. */
function ticks(least: number, most: number, x: (size: number) => number): number[] {
  const shown: number[] = [];
  for (const size of cacheSizes(least, most).reverse()) {
    const next = shown.at(-1);
    if (next === undefined || x(next) - x(size) >= LEAST_TICK_DISTANCE) shown.push(size);
  }
  return shown;
}
