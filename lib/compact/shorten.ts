// Shortens a text that is too long for the context: its beginning and its end stay, and a line between them says how much
// is missing. Texts that were shortened before are told apart by that line, so the number stays that of the original.

const MARKER = /\n\[\.\.\. ([1-9][0-9]{0,14}) characters left out \.\.\.\]\n/g;
/** Most characters that the line takes. */
const MARKER_LENGTH = 50;

/** Whether `shorten` with this limit changes the text. */
export function isLonger(text: string, limit: number): boolean {
  return text.length > limit + MARKER_LENGTH;
}

/**
 * At most `limit` characters (UTF-16 units) of the text and the line that counts the others. A text that would not become
 * shorter stays as it is. Never cuts a character in two.
 */
export function shorten(text: string, limit: number): string {
  if (!isLonger(text, limit)) return text;
  // The beginning tells more than the end: what it is, what went wrong first.
  const head = withoutHalf(text.slice(0, Math.ceil((limit * 2) / 3)), "end");
  const tail = limit < 3 ? "" : withoutHalf(text.slice(text.length - Math.floor(limit / 3)), "start");
  const middle = text.slice(head.length, text.length - tail.length);
  let leftOut = middle.length;
  for (const [line, count] of middle.matchAll(MARKER)) leftOut += Number(count) - line.length;
  return `${head}\n[... ${leftOut} characters left out ...]\n${tail}`;
}

/** Drops half of a surrogate pair at one end. */
function withoutHalf(text: string, end: "start" | "end"): string {
  return end === "end" ? text.replace(/[\ud800-\udbff]$/, "") : text.replace(/^[\udc00-\udfff]/, "");
}
