// The page of a trace: one HTML file that needs nothing else. Its policy lets no script run but its own, whatever a token
// or a prompt may say.

import { createHash } from "node:crypto";
import { basename } from "node:path";
import { formatInteger } from "../format";
import { packageVersion } from "../package-info";
import { cacheFigure } from "./cache-figure";
import { escapeHtml, escapeJson } from "./escape";
import { LOAD_STEPS, loadFigure, loadLayout } from "./load-figure";
import { type Layouts, scriptData } from "./page-data";
import { SCRIPT } from "./page-script";
import { STYLE } from "./page-style";
import { type PathLayout, pathFigure, pathGutter, pathLayout } from "./path-figure";
import type { Recording } from "./recording";
import type { Statistics } from "./statistics";
import { type StayLayout, stayFigure, stayLayout } from "./stay-figure";
import { cacheSizes, findings, percent, scope } from "./words";

export function tracePage(recording: Recording, statistics: Statistics): string {
  const { routing, prompt } = recording;
  const path = pathLayout(recording);
  const layouts: Layouts = { path, stay: stayLayout(recording, path), load: loadLayout(recording) };
  const { stay, load } = layouts;
  const title = `How ${basename(recording.model)} chose its experts`;
  const hash = createHash("sha256").update(SCRIPT).digest("base64");
  const policy = `default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-${hash}'`;
  return `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="k2-native ${escapeHtml(packageVersion())}">
<title>${escapeHtml(title)}</title>
<style>${STYLE}</style>
</head>
<body>
<main>
<h1>${escapeHtml(title)}</h1>
<p class="soft">${escapeHtml(scope(recording, statistics))}</p>
<blockquote>${escapeHtml(prompt)}</blockquote>
<ul class="findings">
${findings(recording, statistics)
  .map(({ title, text }) => `<li><strong>${sentence(title)}</strong>${sentence(text)}</li>`)
  .join("\n")}
</ul>
${stay === undefined ? "" : overview(recording, path, stay)}
<h2>The experts of each token</h2>
<p>A band is a layer, a column is a token, a mark is an expert that worked on it: expert 0 at the top of its band, expert
${formatInteger(routing.expertCount - 1)} at the bottom. Runs of one colour from left to right are experts that stay.${cut(recording, path)}</p>
<ul class="legend">
<li><i class="kept"></i>worked on the token before too</li>
<li><i class="new"></i>did not</li>
<li><i class="strength"></i>stronger: more weight</li>
${routing.isKnown.includes(0) ? '<li><i class="unknown"></i>nothing was computed</li>' : ""}
${recording.isWritten.includes(false) ? '<li><span class="read-name">grey token</span>: read, not written by the model</li>' : ""}
</ul>
<div class="figure">${pathGutter(recording, path)}<div class="scroll">${HATCH}${pathFigure(recording, path)}</div></div>
<h2>How often each expert works</h2>
<p>All tokens together. An even load would give every expert ${percent(routing.expertsPerToken / routing.expertCount)} of the tokens of its layer.</p>
<ul class="legend">
<li><i class="l0"></i>never</li>
${LOAD_STEPS.map((step, index) => `<li><i class="l${index + 1}"></i>${loadName(step, LOAD_STEPS[index + 1])}</li>`).join("\n")}
</ul>
<div class="scroll">${loadFigure(recording, statistics, load)}</div>
<h2>What a cache of experts would hit</h2>
<p>The share of choices that find their expert among those that the layer used last, against how many of them are kept: the mean of
the layers, and from the worst to the best of them. The first use of an expert is a miss, so a short trace stays below 100&nbsp;%.
Where experts do not fit into fast memory, this is what a cache of them lives on.</p>
<div class="scroll">${cacheFigure(recording, statistics)}</div>
${numbers(recording, statistics)}
<p id="readout" class="soft" role="status">Point at a mark, or move through a figure with the arrow keys, to read its numbers here.</p>
</main>
<script type="application/json" id="data">${escapeJson(scriptData(recording, statistics, layouts))}</script>
<script>${SCRIPT}</script>
</body>
</html>
`;
}

/** For columns of which nothing is known. */
const HATCH =
  '<svg width="0" height="0" aria-hidden="true"><defs><pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse">' +
  '<path d="M0 6L6 0" style="stroke: var(--hatch)"/></pattern></defs></svg>';

function overview(recording: Recording, path: PathLayout, stay: StayLayout): string {
  return `<h2>What stays from token to token</h2>
<p>A row is a layer, a column is a token, and the stronger a cell, the more of the token's experts worked on the token before
too. A click leads to the token below.</p>
<ul class="legend">
<li><i class="l0"></i>none</li>
<li><i class="l1"></i><i class="l2"></i><i class="l3"></i><i class="l4"></i><i class="l5"></i>up to all</li>
</ul>
<div class="scroll">${stayFigure(recording, path, stay)}</div>`;
}

/** No line begins with a sign that belongs to its number. */
function sentence(text: string): string {
  return escapeHtml(text).replaceAll(" %", "&nbsp;%");
}

function cut({ routing }: Recording, { columns }: PathLayout): string {
  const all = routing.tokens.length;
  if (columns === all) return "";
  return ` The first ${formatInteger(columns)} of ${formatInteger(all)} tokens are drawn; all others are counted.`;
}

function loadName(from: number, to: number | undefined): string {
  if (from === 0) return "less than half of an even load";
  return to === undefined ? `${from} times and more` : `${from} to ${to} times`;
}

/** The figures as a table. */
function numbers({ routing }: Recording, { layers, tokens }: Statistics): string {
  const { expertCount, expertsPerToken } = routing;
  const sizes = cacheSizes(expertsPerToken, expertCount).slice(0, -1);
  const head = [
    "layer",
    "busiest experts",
    "as even as",
    "never used",
    "stay",
    ...sizes.map((size) => `cache of ${size}`),
  ];
  const rows = layers.map(({ layer, counts, ranking, effectiveExperts, kept, hitRates }) => [
    String(layer),
    ranking
      .slice(0, 3)
      .map((expert) => `${expert} (${percent(counts[expert]! / tokens)})`)
      .join(", "),
    `${effectiveExperts.toFixed(1)} of ${expertCount}`,
    formatInteger(expertCount - ranking.length),
    percent(kept),
    ...sizes.map((size) => percent(hitRates[size]!)),
  ]);
  return `<details>
<summary>The numbers of each layer</summary>
<div class="scroll"><table>
<caption>Share of tokens for experts, share of choices for what stays and what a cache hits</caption>
<thead><tr>${head.map((cell) => `<th scope="col">${cell}</th>`).join("")}</tr></thead>
<tbody>
${rows.map((row) => `<tr>${row.map((cell) => `<td>${cell}</td>`).join("")}</tr>`).join("\n")}
</tbody>
</table></div>
</details>`;
}
