// Finds one literal in a text that arrives in pieces (Knuth-Morris-Pratt): constant work per character whatever the text,
// and at any moment it knows how many of the latest characters could still become a match.

export class LiteralMatcher {
  readonly literal: string;
  /** How many of the latest characters are a beginning of the literal; its whole length after a match. */
  pending = 0;
  private readonly fallback: Int32Array;

  /** @param literal Not empty. */
  constructor(literal: string) {
    this.literal = literal;
    this.fallback = fallbackTable(literal);
  }

  /** Takes one UTF-16 unit; true when it completes a match. A following unit starts afresh. */
  push(unit: number): boolean {
    const { literal, fallback } = this;
    let state = this.pending === literal.length ? 0 : this.pending;
    while (state > 0 && literal.charCodeAt(state) !== unit) state = fallback[state]!;
    this.pending = literal.charCodeAt(state) === unit ? state + 1 : 0;
    return this.pending === literal.length;
  }

  reset(): void {
    this.pending = 0;
  }
}

/** Per state: the longest proper beginning of the literal that ends there too. */
function fallbackTable(literal: string): Int32Array {
  const table = new Int32Array(literal.length + 1);
  let length = 0;
  for (let i = 1; i < literal.length; i++) {
    while (length > 0 && literal.charCodeAt(i) !== literal.charCodeAt(length)) length = table[length]!;
    if (literal.charCodeAt(i) === literal.charCodeAt(length)) length += 1;
    table[i + 1] = length;
  }
  return table;
}
