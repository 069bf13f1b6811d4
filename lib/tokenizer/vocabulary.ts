// The ordinary tokens of a checkpoint: their bytes in one pool, and a hash table from bytes to rank. Ranks are token
// ids. The table is our own because a Map of strings would make a string of every candidate of every merge.

/** Longest token that a vocabulary may hold. Kimi's longest has 256 bytes. */
export const MAX_TOKEN_BYTES = 1024;

/** In front of a token's bytes: its rank in four bytes and its length in two, for one memory access in place of three. */
const HEADER_BYTES = 6;
const PAIRS = 65536;
const MERGE_BITS = 14;

/** The tokens of two bytes by rank: the place of byte a before byte b is `order[256 * a + b]`, `count` for no token. */
export interface PairOrder {
  order: Int32Array;
  count: number;
}

export class Vocabulary {
  /** How many ordinary tokens there are; their ranks, which are their ids, are 0 to size - 1. */
  readonly size: number;
  /** Bytes of the longest token. */
  longest = 0;
  private readonly pool: Buffer;
  private poolLength = 0;
  /** Where the bytes of each rank start in the pool; 0 where it has no token yet. */
  private readonly starts: Uint32Array;
  /** Per slot the full hash and where the bytes start, or zeros: linear probing, at most half full. */
  private readonly slots: Int32Array;
  private readonly slotMask: number;
  /** A bit for each hash that occurs, by its upper bits: most lookups of a merge find nothing, and end here. */
  private readonly filter: Int32Array;
  private readonly filterShift: number;
  private readonly rankOfByte = new Int32Array(256).fill(-1);
  private readonly rankOfPair = new Int32Array(PAIRS).fill(-1);
  private orderOfPairs: PairOrder | undefined;
  /** A cache of `rankOfMerge`, three numbers an entry: left, right and the result. */
  private readonly merges = new Int32Array(3 << MERGE_BITS).fill(-1);
  // A random odd factor per vocabulary: a hostile file cannot choose tokens that all collide.
  private readonly factor = (Math.random() * 0x40000000) | 0x40000001;

  /** An empty vocabulary for `size` tokens of `poolBytes` bytes together; `add` fills it. */
  constructor(size: number, poolBytes: number) {
    this.size = size;
    this.pool = Buffer.alloc(poolBytes + HEADER_BYTES * size);
    this.starts = new Uint32Array(size);
    let slotCount = 16;
    while (slotCount < 2 * size) slotCount *= 2;
    this.slots = new Int32Array(2 * slotCount);
    this.slotMask = slotCount - 1;
    // Four bits a slot.
    this.filterShift = Math.clz32(slotCount / 8) + 1;
    this.filter = new Int32Array(slotCount / 8);
  }

  /** True when `rank` has its token. */
  has(rank: number): boolean {
    return this.starts[rank] !== 0;
  }

  /** Adds `bytes[0, length)` as `rank`. Returns the rank of an equal token and adds nothing where one exists, else -1. */
  add(rank: number, bytes: Uint8Array, length: number): number {
    const hash = this.hash(bytes, 0, length);
    const slot = this.findSlot(hash, bytes, 0, length);
    this.filter[hash >>> this.filterShift]! |= 1 << (hash >>> (this.filterShift - 5));
    const found = this.slots[2 * slot + 1]!;
    if (found !== 0) return this.rankAt(found);
    const token = this.poolLength + HEADER_BYTES;
    this.pool.writeInt32LE(rank, token - HEADER_BYTES);
    this.pool.writeUInt16LE(length, token - 2);
    for (let i = 0; i < length; i++) this.pool[token + i] = bytes[i]!;
    this.poolLength = token + length;
    this.slots[2 * slot] = hash;
    this.slots[2 * slot + 1] = token;
    this.starts[rank] = token;
    if (length > this.longest) this.longest = length;
    if (length === 1) this.rankOfByte[bytes[0]!] = rank;
    if (length === 2) this.rankOfPair[bytes[0]! * 256 + bytes[1]!] = rank;
    return -1;
  }

  /** The rank of the token that is exactly `bytes[start, end)`, or -1. */
  rankOf(bytes: Uint8Array, start: number, end: number): number {
    const length = end - start;
    if (length === 1) return this.rankOfByte[bytes[start]!]!;
    if (length === 2) return this.rankOfPair[bytes[start]! * 256 + bytes[start + 1]!]!;
    if (length > this.longest) return -1;
    const hash = this.hash(bytes, start, end);
    if (((this.filter[hash >>> this.filterShift]! >>> (hash >>> (this.filterShift - 5))) & 1) === 0)
      return -1;
    const token = this.slots[2 * this.findSlot(hash, bytes, start, length) + 1]!;
    return token === 0 ? -1 : this.rankAt(token);
  }

  /**
   * `rankOf(bytes, start, end)`, where those bytes are the tokens `left` and `right` one after the other. The latest
   * pairs are remembered, because the merges of a text are few different ones again and again.
   */
  rankOfMerge(left: number, right: number, bytes: Uint8Array, start: number, end: number): number {
    const { merges } = this;
    const at = 3 * ((Math.imul(left, 0x9e3779b1) ^ Math.imul(right, 0x85ebca6b)) >>> (32 - MERGE_BITS));
    if (merges[at] === left && merges[at + 1] === right) return merges[at + 2]!;
    const rank = this.rankOf(bytes, start, end);
    merges[at] = left;
    merges[at + 1] = right;
    merges[at + 2] = rank;
    return rank;
  }

  /** The order of the tokens of two bytes, computed at the first call. */
  pairOrder(): PairOrder {
    if (this.orderOfPairs === undefined) {
      const ranks = this.rankOfPair.filter((rank) => rank !== -1).sort();
      const places = new Map(Array.from(ranks, (rank, place) => [rank, place]));
      const order = this.rankOfPair.map((rank) => places.get(rank) ?? ranks.length);
      this.orderOfPairs = { order, count: ranks.length };
    }
    return this.orderOfPairs;
  }

  /** The bytes of a token as a view that callers must not change. `rank` is in [0, size). */
  bytesOf(rank: number): Buffer {
    const start = this.starts[rank]!;
    return this.pool.subarray(start, start + this.pool.readUInt16LE(start - 2));
  }

  /** Copies the bytes of tokens [first, end) to where `offsets` has their first one, and notes where each ends. */
  copyBytes(first: number, end: number, pool: Uint8Array, offsets: Uint32Array): void {
    for (let rank = first; rank < end; rank++) {
      const start = this.starts[rank]!;
      const length = this.pool.readUInt16LE(start - 2);
      let at = offsets[rank]!;
      offsets[rank + 1] = at + length;
      for (let i = start; i < start + length; i++) pool[at++] = this.pool[i]!;
    }
  }

  /** Bytes of all tokens together. */
  get byteCount(): number {
    return this.poolLength - HEADER_BYTES * this.size;
  }

  private hash(bytes: Uint8Array, start: number, end: number): number {
    const { factor } = this;
    let hash = end - start;
    for (let i = start; i < end; i++) {
      hash = Math.imul(hash ^ bytes[i]!, factor);
      hash ^= hash >>> 15;
    }
    return hash;
  }

  /** The slot that holds the given bytes, or the empty one where they belong. */
  private findSlot(hash: number, bytes: Uint8Array, start: number, length: number): number {
    const { slots, slotMask } = this;
    let slot = hash & slotMask;
    for (;;) {
      const token = slots[2 * slot + 1]!;
      if (token === 0) return slot;
      if (slots[2 * slot] === hash && this.equals(token, bytes, start, length)) return slot;
      slot = (slot + 1) & slotMask;
    }
  }

  private equals(token: number, bytes: Uint8Array, start: number, length: number): boolean {
    const { pool } = this;
    if ((pool[token - 2]! | (pool[token - 1]! << 8)) !== length) return false;
    for (let i = 0; i < length; i++) {
      if (pool[token + i] !== bytes[start + i]) return false;
    }
    return true;
  }

  private rankAt(token: number): number {
    const { pool } = this;
    return pool[token - 6]! | (pool[token - 5]! << 8) | (pool[token - 4]! << 16) | (pool[token - 3]! << 24);
  }
}
