// The small part of SVG that the figures are made of.

import { escapeHtml } from "./escape";

export interface Figure {
  readonly id: string;
  readonly title: string;
  /** What it shows, in words, for whoever does not see it. */
  readonly description: string;
  readonly width: number;
  readonly height: number;
  readonly body: readonly string[];
}

export function svg({ id, title, description, width, height, body }: Figure): string {
  return [
    `<svg id="${id}" role="img" aria-labelledby="${id}-title ${id}-description" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" xmlns="http://www.w3.org/2000/svg">`,
    `<title id="${id}-title">${escapeHtml(title)}</title>`,
    `<desc id="${id}-description">${escapeHtml(description)}</desc>`,
    ...body,
    "</svg>",
  ].join("\n");
}

/** @param attributes As markup; only numbers and names of this program. */
export function text(content: string, x: number, y: number, attributes = ""): string {
  return `<text x="${number(x)}" y="${number(y)}"${attributes === "" ? "" : ` ${attributes}`}>${escapeHtml(content)}</text>`;
}

export function rect(x: number, y: number, width: number, height: number, kind: string): string {
  return `<rect class="${kind}" x="${number(x)}" y="${number(y)}" width="${number(width)}" height="${number(height)}"/>`;
}

/** Two decimals are finer than any pixel. */
export function number(value: number): string {
  return String(Math.round(value * 100) / 100);
}

/** Strokes by kind, which become one path each. */
export class StrokeKinds {
  private readonly kinds = new Map<string, Strokes>();

  /** A stroke from x to x + 1. */
  add(kind: string, x: number, y: number): void {
    const strokes = this.kinds.get(kind) ?? new Strokes();
    this.kinds.set(kind, strokes);
    strokes.add(x, y);
  }

  paths(): string {
    return [...this.kinds].map(([kind, strokes]) => strokes.path(kind)).join("");
  }
}

/** Many equally long horizontal strokes as one path: 6 to 8 bytes each, where a rectangle takes 50. */
class Strokes {
  private readonly parts: string[] = [];
  private x = 0;
  private y = 0;

  add(x: number, y: number): void {
    const dx = number(x - this.x);
    const dy = number(y - this.y);
    this.parts.push(`m${dx}${dy.startsWith("-") ? "" : " "}${dy}h1`);
    this.x = x + 1;
    // What is added up is what was written.
    this.y += Number(dy);
  }

  path(kind: string): string {
    return `<path class="${kind}" d="${this.parts.join("")}"/>`;
  }
}
