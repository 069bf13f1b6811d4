// Cuts text that arrives in pieces at markers. Every marker begins with the one "<" that it holds, so a candidate never
// overlaps another: at each "<" the search starts afresh, and a piece looks at no more than one marker's length again.

export interface TextPiece {
  text: string;
  isMarker: boolean;
}

export class MarkerSplitter {
  private readonly markers: readonly string[];
  /** The beginning of a marker at the end of the text so far. */
  private held = "";

  /** @param markers Each begins with "<" and holds no other. */
  constructor(markers: readonly string[]) {
    this.markers = markers;
  }

  /** Takes text; returns what is decided, in order and without empty pieces. */
  push(text: string): TextPiece[] {
    const pieces: TextPiece[] = [];
    const all = this.held + text;
    let start = 0;
    let open = all.indexOf("<");
    while (open !== -1) {
      const end = this.endOfCandidate(all, open);
      if (end === all.length && !this.markers.includes(all.slice(open))) break;
      const candidate = all.slice(open, end);
      if (this.markers.includes(candidate)) {
        add(pieces, all.slice(start, open), false);
        add(pieces, candidate, true);
        start = end;
      }
      open = all.indexOf("<", Math.max(end, open + 1));
    }
    const rest = open === -1 ? all.length : open;
    add(pieces, all.slice(start, rest), false);
    this.held = all.slice(rest);
    return pieces;
  }

  /** Ends the wait: what was held is text. */
  finish(): TextPiece[] {
    const pieces: TextPiece[] = [];
    add(pieces, this.held, false);
    this.held = "";
    return pieces;
  }

  /** Where the longest beginning of a marker at `start` ends. */
  private endOfCandidate(text: string, start: number): number {
    let end = start + 1;
    while (end < text.length) {
      const candidate = text.slice(start, end + 1);
      if (!this.markers.some((marker) => marker.startsWith(candidate))) break;
      end += 1;
    }
    return end;
  }
}

function add(pieces: TextPiece[], text: string, isMarker: boolean): void {
  if (text !== "") pieces.push({ text, isMarker });
}
