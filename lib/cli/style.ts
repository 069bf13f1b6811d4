// Colours of a terminal. Node decides whether there are any: not without a terminal, not under NO_COLOR or TERM=dumb.

import type { WriteStream } from "node:tty";

type Paint = (text: string) => string;

/** Each function wraps one text; without colours it returns the text as it is. */
export interface Style {
  readonly hasColors: boolean;
  readonly bold: Paint;
  readonly dim: Paint;
  readonly accent: Paint;
  readonly bad: Paint;
}

const PLAIN: Style = { hasColors: false, bold: keep, dim: keep, accent: keep, bad: keep };
const COLORED: Style = {
  hasColors: true,
  bold: paint(1, 22),
  dim: paint(2, 22),
  accent: paint(36, 39),
  bad: paint(31, 39),
};

export function styleOf(stream: Partial<Pick<WriteStream, "isTTY" | "hasColors">>): Style {
  return stream.isTTY && stream.hasColors?.() ? COLORED : PLAIN;
}

/** Control characters, which a model or a file name must not send to a terminal, as visible symbols. */
export function visible(text: string): string {
  return text.replace(CONTROL, (character) => {
    const code = character.charCodeAt(0);
    return code < 0x20 ? String.fromCharCode(0x2400 + code) : code === 0x7f ? "\u2421" : "\ufffd";
  });
}

// All of C0 but tab and newline, delete, and C1.
const CONTROL = /[^\P{Cc}\t\n]/gu;

function paint(open: number, close: number): Paint {
  return (text) => (text === "" ? "" : `\x1b[${open}m${text}\x1b[${close}m`);
}

function keep(text: string): string {
  return text;
}
