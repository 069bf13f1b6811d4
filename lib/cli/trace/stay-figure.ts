// All tokens at one look: a cell for each layer and token, the stronger, the more experts the token shares with the one
// before.

import { formatInteger } from "../format";
import type { PathLayout } from "./path-figure";
import { expertsOf, type Recording } from "./recording";
import { number, rect, StrokeKinds, svg, text } from "./svg";

const GUTTER = 72;
const AXIS = 34;
const WIDTH = 1110;
const HEIGHT = 420;
const TALLEST_ROW = 18;
const LEAST_ROW = 4;
const LEAST_LABEL_PITCH = 16;
/** The name of a low first row needs more than the row. */
const TOP = 6;
const CLASSES = 5;

export interface StayLayout {
  readonly left: number;
  readonly top: number;
  readonly column: number;
  readonly row: number;
}

/** undefined where the path itself is so short that it can be seen at one look. */
export function stayLayout({ routing: { layers } }: Recording, path: PathLayout): StayLayout | undefined {
  if (path.columns * path.column <= WIDTH) return undefined;
  const row = Math.max(LEAST_ROW, Math.min(TALLEST_ROW, Math.floor(HEIGHT / layers.length)));
  return { left: GUTTER, top: TOP, column: WIDTH / path.columns, row };
}

export function stayFigure({ routing }: Recording, { columns }: PathLayout, layout: StayLayout): string {
  const { layers, expertsPerToken, isKnown, firstPosition } = routing;
  const { left, column, row } = layout;
  const bottom = TOP + layers.length * row;
  const everyLabel = Math.ceil(LEAST_LABEL_PITCH / row);
  const rows = layers.map((layer, index) => {
    const strokes = new StrokeKinds();
    for (let token = 1; token < columns; token += 1) {
      if (isKnown[token] === 0 || isKnown[token - 1] === 0) continue;
      const before = expertsOf(routing, token - 1, index);
      const kept = expertsOf(routing, token, index).filter((expert) => before.includes(expert)).length;
      if (kept > 0) strokes.add(`l${Math.ceil((CLASSES * kept) / expertsPerToken)}`, token, 0);
    }
    const y = TOP + index * row + row / 2;
    const label =
      index % everyLabel === 0 ? text(`layer ${layer}`, left - 8, y + 4, 'text-anchor="end"') : "";
    return `${label}<g transform="translate(${left} ${number(y)}) scale(${column.toFixed(4)} 1)" stroke-width="${row}">${strokes.paths()}</g>`;
  });
  const step = columns > 400 ? 100 : 50;
  const ticks = Array.from({ length: Math.ceil(columns / step) }, (_, index) => index * step);
  return svg({
    id: "stay",
    title: "What stays from token to token",
    description:
      `One row for each of ${layers.length} layers, one column for each of ${formatInteger(columns)} tokens. The share of ` +
      "experts that stay is in the sentences and in the table of this page.",
    width: left + WIDTH + 24,
    height: bottom + AXIS,
    body: [
      rect(left, TOP, WIDTH, bottom - TOP, "l0"),
      ...rows,
      ...ticks.map((token) =>
        text(
          String(firstPosition + token),
          left + (token + 0.5) * column,
          bottom + 14,
          'text-anchor="middle"',
        ),
      ),
      text("position", left, bottom + 30),
      rect(left, 0, column, row, "cursor"),
    ],
  });
}
