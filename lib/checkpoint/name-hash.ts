// HalfSipHash-1-3 of a byte range, keyed per process: a crafted file cannot choose names that collide, so looking up
// names stays linear on hostile input. https://github.com/veorq/SipHash

const key = crypto.getRandomValues(new Uint32Array(2));
const KEY_0 = key[0]! | 0;
const KEY_1 = key[1]! | 0;

/** A 32-bit hash (signed) of `bytes[start, end)`. */
export function nameHash(bytes: Uint8Array, start: number, end: number): number {
  let v0 = KEY_0;
  let v1 = KEY_1;
  let v2 = 0x6c796765 ^ KEY_0;
  let v3 = 0x74656462 ^ KEY_1;
  // Whole words, then one word of the remaining bytes with the length on top, then three rounds to finish.
  const lastWord = start + ((end - start) & ~3);
  let finishing = 0;
  for (let at = start; finishing < 4; at += 4) {
    let word = 0;
    if (at < lastWord) {
      word = bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
    } else if (finishing++ === 0) {
      word = (end - start) << 24;
      for (let i = lastWord; i < end; i++) word |= bytes[i]! << (8 * (i - lastWord));
    } else if (finishing === 2) {
      v2 ^= 0xff;
    }
    v3 ^= word;
    v0 = (v0 + v1) | 0;
    v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0;
    v0 = (v0 << 16) | (v0 >>> 16);
    v2 = (v2 + v3) | 0;
    v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2;
    v0 = (v0 + v3) | 0;
    v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0;
    v2 = (v2 + v1) | 0;
    v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2;
    v2 = (v2 << 16) | (v2 >>> 16);
    v0 ^= word;
  }
  return v1 ^ v3;
}
