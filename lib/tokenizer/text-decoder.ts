// Token ids to text while they arrive. A token may end inside a character, so up to three bytes are held back until the
// character is complete or can no longer become one; what has been returned is final, and all of it together is exactly
// the decoding of all ids at once.

const MAX_HELD = 3;

/** Gives the bytes of one id; throws on an id that does not exist. The view is read before the next call. */
export type BytesOfToken = (id: number) => Uint8Array;

/** Ids to text, one by one; the bytes of characters that are not complete yet are held back. */
export class StreamingTextDecoder {
  private readonly bytesOfToken: BytesOfToken;
  private buffer = Buffer.alloc(64);
  private held = 0;

  constructor(bytesOfToken: BytesOfToken) {
    this.bytesOfToken = bytesOfToken;
  }

  /** Takes the next id; returns the text that it completes, which may be empty. */
  push(id: number): string {
    const bytes = this.bytesOfToken(id);
    const length = this.held + bytes.length;
    if (length > this.buffer.length) {
      const larger = Buffer.alloc(2 * length);
      this.buffer.copy(larger, 0, 0, this.held);
      this.buffer = larger;
    }
    this.buffer.set(bytes, this.held);
    const complete = length - incompleteTail(this.buffer, length);
    const text = this.buffer.toString("utf8", 0, complete);
    this.buffer.copy(this.buffer, 0, complete, length);
    this.held = length - complete;
    return text;
  }

  /** Ends the text: returns U+FFFD for bytes that are still held back, else "". The decoder can be used again. */
  flush(): string {
    const text = this.buffer.toString("utf8", 0, this.held);
    this.held = 0;
    return text;
  }
}

/** How many bytes at the end of `bytes[0, length)` are the beginning of a character that is not complete: 0 to 3. */
function incompleteTail(bytes: Uint8Array, length: number): number {
  for (let tail = 1; tail <= MAX_HELD && tail <= length; tail++) {
    const lead = bytes[length - tail]!;
    if (lead < 0x80) return 0;
    if (lead < 0xc0) continue;
    return tail < sequenceLength(lead) && (tail === 1 || isSecondByte(lead, bytes[length - tail + 1]!))
      ? tail
      : 0;
  }
  return 0;
}

/** Bytes of the character that `lead` starts; 1 for a byte that starts none. */
function sequenceLength(lead: number): number {
  if (lead < 0xc2 || lead > 0xf4) return 1;
  if (lead < 0xe0) return 2;
  return lead < 0xf0 ? 3 : 4;
}

/** Some leads restrict their second byte: no overlong forms, no surrogates, nothing above U+10FFFF. */
function isSecondByte(lead: number, second: number): boolean {
  if (lead === 0xe0) return second >= 0xa0;
  if (lead === 0xed) return second < 0xa0;
  if (lead === 0xf0) return second >= 0x90;
  if (lead === 0xf4) return second < 0x90;
  return true;
}
