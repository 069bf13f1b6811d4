// Text of a model or a user inside of HTML, SVG and script data. Nothing of it can become markup, and nothing in it can
// turn the direction of the text around it.

import { visible } from "../style";

const ENTITIES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

export function escapeHtml(text: string): string {
  return clean(text).replace(/[&<>"']/g, (character) => ENTITIES[character]!);
}

/** JSON for a script element of type application/json. */
export function escapeJson(value: unknown): string {
  return JSON.stringify(value, (_key, inner: unknown) =>
    typeof inner === "string" ? clean(inner) : inner,
  ).replace(
    /[<>&\u2028\u2029]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** A token on one short line: spaces and line ends as symbols. */
export function tokenLabel(text: string, longest: number): string {
  const shown = [...text.replaceAll(" ", "·").replaceAll("\n", "↵").replaceAll("\t", "⇥")];
  return shown.length <= longest ? shown.join("") : `${shown.slice(0, longest - 1).join("")}…`;
}

/** Without controls, marks of direction and lone surrogates, which nobody sees or a page must not hold. */
function clean(text: string): string {
  return visible(text).replace(/[\p{Bidi_Control}\p{Cs}\ufffe\uffff]/gu, "\ufffd");
}
