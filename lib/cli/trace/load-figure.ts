// How often each expert works: a row for each layer, a cell for each expert.

import type { Recording } from "./recording";
import type { Statistics } from "./statistics";
import { number, rect, StrokeKinds, svg, text } from "./svg";
import { percent } from "./words";

/** Lower ends of the classes of load above "never", as multiples of an even load. */
export const LOAD_STEPS: readonly number[] = [0, 0.5, 1, 2, 4];
const GUTTER = 72;
const AXIS = 34;
const WIDTH = 960;
const HEIGHT = 900;
const WIDEST_CELL = 48;
const TALLEST_ROW = 24;
const LEAST_LABEL_PITCH = 16;
/** The name of a low first row needs more than the row. */
const TOP = 6;

export interface LoadLayout {
  readonly left: number;
  readonly top: number;
  readonly cell: number;
  readonly row: number;
}

export function loadLayout({ routing: { layers, expertCount } }: Recording): LoadLayout {
  return {
    left: GUTTER,
    top: TOP,
    cell: Math.min(WIDEST_CELL, WIDTH / expertCount),
    row: Math.max(8, Math.min(TALLEST_ROW, Math.floor(HEIGHT / layers.length))),
  };
}

/** 0: never chosen; otherwise the class of the load, from 1 on. */
export function loadClass(count: number, even: number): number {
  if (count === 0) return 0;
  return LOAD_STEPS.filter((step) => count / even >= step).length;
}

export function loadFigure(
  { routing }: Recording,
  { layers, tokens }: Statistics,
  layout: LoadLayout,
): string {
  const { expertCount, expertsPerToken } = routing;
  const { left, cell, row } = layout;
  const even = (tokens * expertsPerToken) / expertCount;
  const width = left + cell * expertCount + 24;
  const bottom = TOP + layers.length * row;
  const everyLabel = Math.ceil(LEAST_LABEL_PITCH / row);
  const rows = layers.map(({ layer, counts }, index) => {
    const strokes = new StrokeKinds();
    for (const [expert, count] of counts.entries()) {
      const kind = loadClass(count, even);
      if (kind > 0) strokes.add(`l${kind}`, expert, 0);
    }
    const y = TOP + index * row + row / 2;
    const label =
      index % everyLabel === 0 ? text(`layer ${layer}`, left - 8, y + 4, 'text-anchor="end"') : "";
    return `${label}<g transform="translate(${left} ${number(y)}) scale(${number4(cell)} 1)" stroke-width="${row - 1}">${strokes.paths()}</g>`;
  });
  const busiest = layers.reduce((best, { counts, ranking }) => Math.max(best, counts[ranking[0]!]!), 0);
  return svg({
    id: "load",
    title: "How often each expert works",
    description:
      `One row for each of ${layers.length} layers, one cell for each of ${expertCount} experts. The busiest works on ` +
      `${percent(busiest / tokens)} of the tokens; an even load would be ${percent(expertsPerToken / expertCount)}.`,
    width: Math.ceil(width),
    height: bottom + AXIS,
    body: [
      rect(left, TOP, cell * expertCount, bottom - TOP - 1, "l0"),
      ...rows,
      ...expertTicks(expertCount).map((expert) =>
        text(String(expert), left + (expert + 0.5) * cell, bottom + 14, 'text-anchor="middle"'),
      ),
      text("expert", left, bottom + 30),
      rect(left, 0, cell, row, "cursor"),
    ],
  });
}

/** About a dozen round ids. */
function expertTicks(expertCount: number): number[] {
  const step =
    [1, 2, 4, 8, 16, 32, 64, 128, 256].find((size) => expertCount / size <= 16) ??
    Math.ceil(expertCount / 16);
  return Array.from({ length: Math.ceil(expertCount / step) }, (_, index) => index * step);
}

/** A factor of hundreds of cells needs more digits than a place. */
function number4(value: number): string {
  return String(Math.round(value * 10_000) / 10_000);
}
