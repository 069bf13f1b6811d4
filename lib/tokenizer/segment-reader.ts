// Cuts a long text where Kimi's published tokenizer cuts it, because ids at a cut differ from those of the uncut text:
// after every 400,000 code points, and inside a run of white space or of anything else after 25,000. A segment is read
// into units (see character-classes.ts) in bounded steps; nothing longer than one segment is ever held.

import { characterClasses, PYTHON_SPACE, unitOf } from "./character-classes";

const PART_CODE_POINTS = 400_000;
const RUN_CODE_POINTS = 25_000;
const FIRST_CAPACITY = 1024;
/** What a lone surrogate is encoded as, here as in `TextEncoder`. */
const REPLACEMENT_CHARACTER = 0xfffd;

export class SegmentReader {
  /** The units of the present segment, `length` of them. */
  units = new Int32Array(FIRST_CAPACITY);
  length = 0;
  private readonly classes = characterClasses();
  private text = "";
  private at = 0;
  private partLength = 0;
  private runLength = 0;
  private runIsSpace = false;

  begin(text: string): void {
    this.text = text;
    this.at = 0;
    this.length = 0;
    this.partLength = 0;
    this.runLength = 0;
  }

  /** True when the last segment has been read. */
  get finished(): boolean {
    return this.at === this.text.length;
  }

  /** Drops the present segment, so that `read` starts the next. */
  clear(): void {
    this.length = 0;
  }

  /** Reads at most `codePoints` more of the present segment; true when it is complete. */
  read(codePoints: number): boolean {
    const { text, classes } = this;
    this.reserve(Math.min(this.length + codePoints, this.length + text.length - this.at));
    const { units } = this;
    const stop = this.length + codePoints;
    let { at, length, partLength, runLength, runIsSpace } = this;
    let complete = false;
    while (length < stop) {
      if (at === text.length) {
        complete = true;
        break;
      }
      if (partLength === PART_CODE_POINTS) {
        partLength = 0;
        runLength = 0;
        complete = true;
        break;
      }
      const codePoint = codePointAt(text, at);
      const unit = unitOf(codePoint, classes);
      const isSpace = (unit & PYTHON_SPACE) !== 0;
      if (isSpace !== runIsSpace) {
        runIsSpace = isSpace;
        runLength = 0;
      } else if (runLength === RUN_CODE_POINTS) {
        runLength = 0;
        complete = true;
        break;
      }
      runLength++;
      partLength++;
      units[length++] = unit;
      at += codePoint > 0xffff ? 2 : 1;
    }
    this.at = at;
    this.length = length;
    this.partLength = partLength;
    this.runLength = runLength;
    this.runIsSpace = runIsSpace;
    return complete;
  }

  /** Gives back what a long text needed. */
  trim(): void {
    this.text = "";
    this.at = 0;
    this.length = 0;
    if (this.units.length > 64 * FIRST_CAPACITY) this.units = new Int32Array(FIRST_CAPACITY);
  }

  private reserve(capacity: number): void {
    if (capacity <= this.units.length) return;
    const larger = new Int32Array(Math.min(PART_CODE_POINTS, Math.max(capacity, 2 * this.units.length)));
    larger.set(this.units.subarray(0, this.length));
    this.units = larger;
  }
}

function codePointAt(text: string, at: number): number {
  const unit = text.charCodeAt(at);
  if ((unit & 0xf800) !== 0xd800) return unit;
  if (unit < 0xdc00) {
    // NaN at the end of the text, which is no low surrogate.
    const low = text.charCodeAt(at + 1);
    if ((low & 0xfc00) === 0xdc00) return 0x10000 + ((unit & 0x3ff) << 10) + (low & 0x3ff);
  }
  return REPLACEMENT_CHARACTER;
}
