// The results of k2_bench as a table for people.

function milliseconds({ median }) {
  return median < 1 ? `${(1000 * median).toFixed(1)} us` : `${median.toFixed(2)} ms`;
}

const percent = (fraction) => `${(100 * fraction).toFixed(0)} %`;

/** Rows of cells in columns; the first is aligned to the left, the others to the right. */
function columns(rows) {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  return rows.map((row) =>
    row
      .map((cell, column) => (column === 0 ? cell.padEnd(widths[column]) : cell.padStart(widths[column])))
      .join("  ")
      .trimEnd(),
  );
}

export function nativeTable({ isa, threads, pages, quick, limits, cases }) {
  const lines = [`${isa} kernels, ${threads} threads, ${pages} pages`];
  if (quick) lines.push("small shapes and few repetitions: these figures say nothing about K2");
  const limitRows = limits.map(({ name, threads: count, unit, value }) => [
    name,
    String(count),
    value.median.toFixed(1),
    `${value.least.toFixed(1)} .. ${value.greatest.toFixed(1)}`,
    unit,
  ]);
  lines.push("", ...columns([["limit", "threads", "median", "least .. greatest", ""], ...limitRows]));
  const measured = cases.filter((one) => one.refused === undefined);
  const caseRows = measured.map((one) => [
    one.name,
    milliseconds(one.milliseconds),
    one.gigabytesPerSecond.toFixed(1),
    one.gigaflopsPerSecond.toFixed(1),
    percent(one.fraction.median),
    `${percent(one.fraction.least)} .. ${percent(one.fraction.greatest)}`,
    one.disturbed ? `${one.bound}, disturbed` : one.bound,
  ]);
  const head = ["case", "time", "GB/s", "GFLOP/s", "of the limit", "least .. greatest", "limit"];
  if (measured.length > 0) lines.push("", ...columns([head, ...caseRows]));
  for (const { name, refused } of cases) {
    if (refused !== undefined) lines.push(`${name}: no figure, its result is wrong. ${refused}`);
  }
  return lines;
}
