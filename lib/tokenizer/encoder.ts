// Text to ids in bounded steps: read a segment, scan it piece by piece, look each piece up, merge those that are no token.
// Whoever drives the steps decides whether the event loop turns between them; both ways give the same ids.

import { PieceMerger } from "./bpe";
import { CODE_POINT_MASK } from "./character-classes";
import { endOfPiece } from "./pretokenize";
import { SegmentReader } from "./segment-reader";
import type { Vocabulary } from "./vocabulary";

// Work of one step: far under a millisecond once compiled, and a few of them at the very first call.
const READ_CODE_POINTS = 4096;
const SCAN_CODE_POINTS = 1024;
const MERGES = 256;

const MAX_UTF8_BYTES = 4;
const FIRST_CAPACITY = 256;
/** Scratch of a long text larger than this is given back at its end. */
const KEPT_BYTES = 1 << 16;

export class Encoder {
  private readonly vocabulary: Vocabulary;
  private readonly reader = new SegmentReader();
  private readonly merger: PieceMerger;
  private segmentRead = false;
  private merging = false;
  private at = 0;
  private bytes = new Uint8Array(FIRST_CAPACITY);
  private ids = new Int32Array(FIRST_CAPACITY);
  private count = 0;

  constructor(vocabulary: Vocabulary) {
    this.vocabulary = vocabulary;
    this.merger = new PieceMerger(vocabulary);
  }

  /** Starts on a text. */
  begin(text: string): void {
    this.reader.begin(text);
    this.segmentRead = false;
    this.merging = false;
    this.at = 0;
    this.count = 0;
  }

  /** Goes on; true when the text is encoded. */
  step(): boolean {
    if (this.merging) {
      this.stepMerge();
      return false;
    }
    if (!this.segmentRead) {
      this.segmentRead = this.reader.read(READ_CODE_POINTS);
      return false;
    }
    if (this.at < this.reader.length) {
      this.scan();
      return false;
    }
    if (this.reader.finished) return true;
    this.reader.clear();
    this.segmentRead = false;
    this.at = 0;
    return false;
  }

  /** The ids of the text, after the last step. The encoder is ready for the next `begin`. */
  finish(): Int32Array {
    const ids = this.ids.slice(0, this.count);
    this.reader.trim();
    this.merger.trim();
    if (this.ids.byteLength > KEPT_BYTES) this.ids = new Int32Array(FIRST_CAPACITY);
    if (this.bytes.byteLength > KEPT_BYTES) this.bytes = new Uint8Array(FIRST_CAPACITY);
    return ids;
  }

  /** Encodes pieces of the segment until some thousand code points are done or a long merge begins. */
  private scan(): void {
    const { vocabulary, reader, merger } = this;
    const { units, length } = reader;
    const stop = Math.min(length, this.at + SCAN_CODE_POINTS);
    while (this.at < stop) {
      const end = endOfPiece(units, this.at, length);
      const byteLength = this.writeBytes(units, this.at, end);
      this.at = end;
      const rank = vocabulary.rankOf(this.bytes, 0, byteLength);
      if (rank !== -1) {
        this.reserveIds(1);
        this.ids[this.count++] = rank;
        continue;
      }
      merger.begin(this.bytes, byteLength);
      this.merging = true;
      this.stepMerge();
      if (this.merging) return;
    }
  }

  private stepMerge(): void {
    if (!this.merger.step(MERGES)) return;
    this.reserveIds(this.merger.length);
    this.count = this.merger.write(this.ids, this.count);
    this.merging = false;
  }

  /** Writes units [start, end) as UTF-8 to the front of `bytes`; returns how many bytes. */
  private writeBytes(units: Int32Array, start: number, end: number): number {
    if (MAX_UTF8_BYTES * (end - start) > this.bytes.length) {
      this.bytes = new Uint8Array(2 * MAX_UTF8_BYTES * (end - start));
    }
    const { bytes } = this;
    let length = 0;
    for (let i = start; i < end; i++) {
      const codePoint = units[i]! & CODE_POINT_MASK;
      if (codePoint < 0x80) {
        bytes[length++] = codePoint;
      } else if (codePoint < 0x800) {
        bytes[length++] = 0xc0 | (codePoint >> 6);
        bytes[length++] = 0x80 | (codePoint & 63);
      } else {
        if (codePoint < 0x10000) {
          bytes[length++] = 0xe0 | (codePoint >> 12);
        } else {
          bytes[length++] = 0xf0 | (codePoint >> 18);
          bytes[length++] = 0x80 | ((codePoint >> 12) & 63);
        }
        bytes[length++] = 0x80 | ((codePoint >> 6) & 63);
        bytes[length++] = 0x80 | (codePoint & 63);
      }
    }
    return length;
  }

  private reserveIds(more: number): void {
    if (this.count + more <= this.ids.length) return;
    const larger = new Int32Array(2 * (this.count + more));
    larger.set(this.ids.subarray(0, this.count));
    this.ids = larger;
  }
}
