// Numbers and tables as people read them. Sizes are decimal: 1 GB is 10^9 bytes, as disks and model cards have it.

const SIZE_UNITS = ["B", "kB", "MB", "GB", "TB", "PB"];
const COUNT_UNITS = ["", "K", "M", "B", "T"];

/** 594203140096 -> "594.2 GB". */
export function formatBytes(bytes: number): string {
  return scaled(bytes, SIZE_UNITS);
}

/** A number of parameters: 1026000000000 -> "1.03 T". */
export function formatCount(count: number): string {
  return scaled(count, COUNT_UNITS).trimEnd();
}

/** 208215 -> "208,215". */
export function formatInteger(value: number): string {
  return Math.round(value).toLocaleString("en-US");
}

/** Tokens per second: three digits are enough, and slow rates keep a fraction. */
export function formatRate(tokens: number, milliseconds: number): string {
  const rate = (tokens * 1000) / milliseconds;
  return `${rate >= 100 ? formatInteger(rate) : rate.toPrecision(rate >= 1 ? 3 : 2)} tok/s`;
}

export function formatMilliseconds(milliseconds: number): string {
  return milliseconds < 1000 ? `${Math.round(milliseconds)} ms` : `${(milliseconds / 1000).toFixed(1)} s`;
}

/** 1 -> "1 file", 2 -> "2 files". */
export function plural(count: number, noun: string): string {
  return `${formatInteger(count)} ${noun}${count === 1 ? "" : "s"}`;
}

function scaled(value: number, units: readonly string[]): string {
  let unit = 0;
  let rest = value;
  // 999.96 would be shown as 1000.0 of its unit: it is 1.00 of the next.
  while (rest >= 999.95 && unit < units.length - 1) {
    rest /= 1000;
    unit += 1;
  }
  const digits = unit === 0 ? 0 : rest >= 9.995 ? 1 : 2;
  return `${rest.toFixed(digits)} ${units[unit]}`;
}

/** Breaks text into lines of at most `width` characters at its spaces; a longer word keeps its own line. */
export function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else {
      line = line === "" ? word : `${line} ${word}`;
    }
  }
  lines.push(line);
  return lines;
}

/**
 * Rows in columns, two spaces apart. Columns are as wide as their widest cell.
 * @param right Indices of the columns that are aligned to the right.
 */
export function columns(rows: readonly (readonly string[])[], right: readonly number[] = []): string[] {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [index, cell] of row.entries()) widths[index] = Math.max(widths[index] ?? 0, cell.length);
  }
  return rows.map((row) =>
    row
      .map((cell, index) => {
        const width = widths[index]!;
        return right.includes(index) ? cell.padStart(width) : cell.padEnd(width);
      })
      .join("  ")
      .trimEnd(),
  );
}
