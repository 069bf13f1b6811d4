// Results as an SVG: bars for what each op reaches of its limit, and lines against the number of tokens and the length
// of the context. Plain text, no dependency; readable on light and on dark.

const WIDTH = 880;
const MARGIN = 24;
const LABELS = 250;
const ROW = 15;

const escaped = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
const number = (value) => String(Math.round(value * 10) / 10);
const percent = (fraction) => `${Math.round(100 * fraction)} %`;

const STYLE = `
text { font: 11px system-ui, sans-serif; fill: #24292f; }
.title { font-size: 15px; font-weight: 600; }
.head { font-size: 12px; font-weight: 600; }
.quiet { fill: #57606a; }
.page { fill: #ffffff; }
.grid { stroke: #d0d7de; stroke-width: 1; }
.limit { stroke: #57606a; stroke-width: 1; stroke-dasharray: 3 3; }
.spread { stroke: #24292f; stroke-width: 1; }
.read { fill: #0969da; }
.arithmetic { fill: #bc4c00; }
.line { fill: none; stroke-width: 2; }
.c0 { stroke: #0969da; } .c1 { stroke: #bc4c00; } .c2 { stroke: #1a7f37; } .c3 { stroke: #8250df; } .c4 { stroke: #bf3989; }
.f0 { fill: #0969da; } .f1 { fill: #bc4c00; } .f2 { fill: #1a7f37; } .f3 { fill: #8250df; } .f4 { fill: #bf3989; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; } .quiet { fill: #9198a1; } .page { fill: #0d1117; } .grid { stroke: #30363d; }
  .limit { stroke: #9198a1; } .spread { stroke: #e6edf3; } .read { fill: #4493f8; } .arithmetic { fill: #f0883e; }
  .c0 { stroke: #4493f8; } .c1 { stroke: #f0883e; } .c2 { stroke: #3fb950; } .c3 { stroke: #ab7df8; } .c4 { stroke: #db61a2; }
  .f0 { fill: #4493f8; } .f1 { fill: #f0883e; } .f2 { fill: #3fb950; } .f3 { fill: #ab7df8; } .f4 { fill: #db61a2; }
}`;

function text(x, y, content, { kind = "", anchor = "start" } = {}) {
  const style = kind === "" ? "" : ` class="${kind}"`;
  return `<text x="${number(x)}" y="${number(y)}" text-anchor="${anchor}"${style}>${escaped(content)}</text>`;
}

function line(x1, y1, x2, y2, kind) {
  return `<line x1="${number(x1)}" y1="${number(y1)}" x2="${number(x2)}" y2="${number(y2)}" class="${kind}"/>`;
}

/** Bars of some cases, one below the other. Gives the elements and where the next thing may begin. */
function bars(title, cases, top) {
  const left = MARGIN + LABELS;
  const right = WIDTH - MARGIN - 60;
  // A busy machine gives fractions above 1 now and then; they are shown as they are, up to a fifth more.
  const x = (fraction) => left + (right - left) * (Math.min(fraction, 1.2) / 1.2);
  const bottom = top + 26 + cases.length * ROW;
  const parts = [text(MARGIN, top + 12, title, { kind: "head" })];
  for (const tick of [0, 0.25, 0.5, 0.75, 1]) {
    parts.push(line(x(tick), top + 22, x(tick), bottom, tick === 1 ? "limit" : "grid"));
    parts.push(text(x(tick), top + 17, percent(tick), { kind: "quiet", anchor: "middle" }));
  }
  cases.forEach((one, index) => {
    const y = top + 26 + index * ROW;
    const { median, least, greatest } = one.fraction;
    parts.push(text(left - 8, y + 10, one.name, { anchor: "end" }));
    const kind = one.bound === "read" ? "read" : "arithmetic";
    parts.push(
      `<rect x="${number(left)}" y="${number(y + 1)}" width="${number(x(median) - left)}" height="${ROW - 4}" rx="2" class="${kind}"/>`,
      line(x(least), y + ROW / 2 - 1, x(greatest), y + ROW / 2 - 1, "spread"),
      text(right + 8, y + 10, percent(median)),
    );
  });
  return { parts, bottom: bottom + 22 };
}

/** Fractions of several groups against a quantity that doubles from tick to tick. */
function plot({ title, groups, quantity, left, top, width }) {
  const height = 150;
  const values = [...new Set(groups.flatMap(({ cases }) => cases.map(quantity)))].sort((a, b) => a - b);
  const scale = (value) => Math.log2(Math.max(value, 1));
  const [first, last] = [scale(values[0]), scale(values.at(-1))];
  const x = (value) =>
    left + 40 + (width - 60) * (last === first ? 0.5 : (scale(value) - first) / (last - first));
  const y = (fraction) => top + 22 + height * (1 - Math.min(fraction, 1.2) / 1.2);
  const parts = [text(left, top + 10, title, { kind: "head" })];
  for (const tick of [0, 0.5, 1]) {
    parts.push(line(left + 40, y(tick), left + width - 10, y(tick), tick === 1 ? "limit" : "grid"));
    parts.push(text(left + 36, y(tick) + 4, percent(tick), { kind: "quiet", anchor: "end" }));
  }
  for (const value of values) {
    const label = value >= 1024 ? `${value / 1024}K` : String(value);
    parts.push(text(x(value), y(0) + 14, label, { kind: "quiet", anchor: "middle" }));
  }
  groups.forEach(({ group, cases }, index) => {
    const color = index % 5;
    const points = cases
      .toSorted((a, b) => quantity(a) - quantity(b))
      .map((one) => [x(quantity(one)), y(one.fraction.median)]);
    const path = points.map(([px, py]) => `${number(px)},${number(py)}`).join(" ");
    parts.push(`<polyline points="${path}" class="line c${color}"/>`);
    for (const [px, py] of points)
      parts.push(`<circle cx="${number(px)}" cy="${number(py)}" r="3" class="f${color}"/>`);
    const rowTop = y(0) + 30 + index * 14;
    parts.push(
      `<rect x="${number(left + 40)}" y="${number(rowTop - 8)}" width="10" height="8" class="f${color}"/>`,
    );
    parts.push(text(left + 56, rowTop, group));
  });
  return { parts, bottom: y(0) + 40 + groups.length * 14 };
}

/** Cases that passed, by group; only groups for which `belongs`, of at least two different quantities. */
function groupsOf(cases, belongs, quantity) {
  const groups = new Map();
  for (const one of cases) {
    if (belongs(one)) groups.set(one.group, [...(groups.get(one.group) ?? []), one]);
  }
  return [...groups]
    .map(([group, members]) => ({ group, cases: members }))
    .filter((one) => new Set(one.cases.map(quantity)).size > 1);
}

export function drawChart({ date, machine, native, loadBefore }) {
  const cases = native.cases.filter((one) => one.refused === undefined && !one.group.startsWith("rows "));
  const parts = [];
  let top = MARGIN + 44;
  const most = Math.max(1, ...cases.map((one) => one.tokens));
  const sections = [
    ["Decode: one token", cases.filter((one) => one.tokens === 1)],
    [`Prefill: ${most} tokens`, cases.filter((one) => one.tokens === most && most > 1)],
  ];
  for (const [title, members] of sections) {
    if (members.length === 0) continue;
    const drawn = bars(title, members, top);
    parts.push(...drawn.parts);
    top = drawn.bottom;
  }
  const tokens = (one) => one.tokens;
  const context = (one) => one.context;
  const isLayer = (one) => one.group.startsWith("layer ");
  const plots = [
    {
      title: "Against tokens of a call",
      groups: groupsOf(
        cases,
        (one) => /^(experts|linear gate|linear o|feed-forward shared)/.test(one.group),
        tokens,
      ),
      quantity: tokens,
    },
    {
      title: "Layers, against tokens",
      groups: groupsOf(cases, (one) => isLayer(one) && one.context <= 1024, tokens),
      quantity: tokens,
    },
    {
      title: "Against the context",
      groups: groupsOf(
        cases,
        (one) => one.group.startsWith("attention ") || (one.group.startsWith("layer ") && one.tokens === 1),
        context,
      ),
      quantity: context,
    },
  ].filter((one) => one.groups.length > 0);
  const width = (WIDTH - 2 * MARGIN) / 3;
  const drawn = plots.map((one, index) => plot({ ...one, left: MARGIN + index * width, top, width }));
  parts.push(...drawn.flatMap((one) => one.parts));
  const height = Math.max(top, ...drawn.map((one) => one.bottom)) + MARGIN;
  const about = `${machine.cpu}, ${native.threads} threads, ${native.isa} kernels, ${date.slice(0, 10)}, load ${loadBefore.toFixed(1)}`;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${number(height)}" width="${WIDTH}" height="${number(height)}" role="img">`,
    `<title>What k2-native reaches of this machine</title>`,
    `<style>${STYLE}\n</style>`,
    `<rect width="100%" height="100%" class="page"/>`,
    text(
      MARGIN,
      MARGIN + 10,
      `What the kernels reach of this machine${native.quick ? " (small shapes)" : ""}`,
      {
        kind: "title",
      },
    ),
    text(MARGIN, MARGIN + 28, about, { kind: "quiet" }),
    `<rect x="${WIDTH - 300}" y="${MARGIN}" width="10" height="8" class="read"/>`,
    text(WIDTH - 286, MARGIN + 8, "bound by reading"),
    `<rect x="${WIDTH - 155}" y="${MARGIN}" width="10" height="8" class="arithmetic"/>`,
    text(WIDTH - 141, MARGIN + 8, "bound by arithmetic"),
    ...parts,
    "</svg>\n",
  ].join("\n");
}
