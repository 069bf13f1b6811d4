// The path of the model through its experts: a band for each layer, a column for each token, a mark for each expert that
// was chosen. Whether the token before had the expert too is the hue, its weight the strength.

import { formatInteger } from "../format";
import { escapeHtml, tokenLabel } from "./escape";
import { expertsOf, type Recording, weightsOf } from "./recording";
import { number, rect, StrokeKinds, svg, text } from "./svg";

/** Wide enough for a readable label. */
const COLUMN = 14;
const LABEL_HEIGHT = 138;
const LONGEST_LABEL = 18;
const GAP = 5;
const GUTTER = 72;
/** More tokens than this make a page that no browser likes. */
export const MOST_COLUMNS = 1000;
/** Bands share this height, as far as it goes. */
const HEIGHT = 2400;
const LEAST_BAND = 30;
const LEAST_MARK = 2;
/** So few get a row of their own each, with a gap between. */
const FEW_EXPERTS = 16;
/** From the weakest on: a weight against an even share of the token's experts. */
const STRONG = 1.25;
const WEAK = 0.75;

export interface PathLayout {
  readonly columns: number;
  readonly column: number;
  readonly top: number;
  readonly band: number;
  readonly pitch: number;
}

export function pathLayout({ routing }: Recording): PathLayout {
  const { layers, expertCount } = routing;
  const wanted = Math.min(expertCount * (expertCount <= FEW_EXPERTS ? 9 : 2), 96);
  const band = Math.round(Math.max(LEAST_BAND, Math.min(wanted, HEIGHT / layers.length - GAP)));
  return {
    columns: Math.min(routing.tokens.length, MOST_COLUMNS),
    column: COLUMN,
    top: LABEL_HEIGHT,
    band,
    pitch: band + GAP,
  };
}

/** The names of the layers, which stay where they are while the path is scrolled. */
export function pathGutter({ routing }: Recording, { top, band, pitch }: PathLayout): string {
  const height = top + routing.layers.length * pitch;
  const labels = routing.layers.map((layer, index) =>
    text(`layer ${layer}`, GUTTER - 8, top + index * pitch + band / 2 + 4, 'text-anchor="end"'),
  );
  return `<svg aria-hidden="true" width="${GUTTER}" height="${height}" viewBox="0 0 ${GUTTER} ${height}">${labels.join("")}</svg>`;
}

export function pathFigure(recording: Recording, layout: PathLayout): string {
  const { routing } = recording;
  const { columns, column, top, pitch } = layout;
  const width = columns * column;
  const height = top + routing.layers.length * pitch;
  return svg({
    id: "path",
    title: "The experts of each token",
    description:
      `One band for each of ${routing.layers.length} layers, one column for each of ${formatInteger(columns)} tokens, one mark ` +
      `for each expert chosen. The sentences and tables of this page say what it shows.`,
    width,
    height,
    body: [
      ...labels(recording, layout),
      ...routing.layers.map((_, index) => band(recording, layout, index)),
      `<path class="gap" d="${Array.from({ length: columns - 1 }, (_, index) => `M${(index + 1) * column} ${top}V${height}`).join("")}"/>`,
      ...unknownColumns(recording, layout),
      rect(0, 0, column, height, "cursor"),
    ],
  });
}

function labels({ texts, isWritten, routing }: Recording, { columns, column, top }: PathLayout): string[] {
  return texts.slice(0, columns).map((token, index) => {
    const x = number((index + 0.5) * column + 4);
    const kind = isWritten[index] ? "written" : "read";
    const title = `${isWritten[index] ? "written" : "read"} at position ${routing.firstPosition + index}: ${JSON.stringify(token)}`;
    return (
      `<text class="token ${kind}" transform="translate(${x} ${top - 6}) rotate(-90)">` +
      `<title>${escapeHtml(title)}</title>${escapeHtml(tokenLabel(token, LONGEST_LABEL))}</text>`
    );
  });
}

function band(
  { routing }: Recording,
  { columns, column, top, band, pitch }: PathLayout,
  index: number,
): string {
  const { expertCount, expertsPerToken, isKnown } = routing;
  const thickness = Math.max(LEAST_MARK, band / expertCount - (expertCount <= FEW_EXPERTS ? 1 : 0));
  const step = (band - thickness) / Math.max(1, expertCount - 1);
  const strokes = new StrokeKinds();
  let before: Uint16Array | undefined;
  for (let token = 0; token < columns; token += 1) {
    if (isKnown[token] === 0) {
      before = undefined;
      continue;
    }
    const experts = expertsOf(routing, token, index);
    const weights = weightsOf(routing, token, index);
    const even = weights.reduce((sum, weight) => sum + weight, 0) / expertsPerToken;
    for (const [index, expert] of experts.entries()) {
      const share = weights[index]! / even;
      const strength = share >= STRONG ? 3 : share >= WEAK ? 2 : 1;
      const y = expert * step + thickness / 2;
      // Whole pixels are short to write; a band of few experts has room for exact ones.
      const place = expertCount <= FEW_EXPERTS ? y : Math.round(y);
      strokes.add(`${before?.includes(expert) ? "kept" : "new"} s${strength}`, token, place);
    }
    before = experts;
  }
  const y = top + index * pitch;
  return (
    rect(0, y, columns * column, band, "band") +
    `<g transform="translate(0 ${y}) scale(${column} 1)" stroke-width="${number(thickness)}">` +
    `${strokes.paths()}</g>`
  );
}

/** Nothing is drawn where nothing is known, and it looks different from an expert that was not chosen. */
function unknownColumns({ routing }: Recording, { columns, column, top, pitch }: PathLayout): string[] {
  const height = routing.layers.length * pitch - GAP;
  return [...routing.isKnown.subarray(0, columns)].flatMap((known, index) =>
    known === 1 ? [] : [rect(index * column, top, column, height, "unknown")],
  );
}
