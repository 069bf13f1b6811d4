// An output that keeps what it is told, without colours.

import type { Style } from "../../../lib/cli/style";
import type { Output } from "../../../lib/cli/terminal";

const plain = (text: string) => text;
const NO_COLORS: Style = { hasColors: false, bold: plain, dim: plain, accent: plain, bad: plain };

export class Screen implements Output {
  readonly style = NO_COLORS;
  readonly isTerminal: boolean;
  readonly canRedraw: boolean;
  columns = 80;
  text = "";

  constructor({ isTerminal = true, canRedraw = false } = {}) {
    this.isTerminal = isTerminal;
    this.canRedraw = canRedraw;
  }

  write(text: string): void {
    this.text += text;
  }
}
