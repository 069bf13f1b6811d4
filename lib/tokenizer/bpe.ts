// Byte-pair merging of one piece: again and again the adjacent pair of lowest rank, leftmost first. A tournament tree
// over the positions keeps that rank at its root, so that a piece of n bytes costs O(n log n), whatever it holds. In a
// long piece the pairs of single bytes, which are most of all, do not enter the tree: they wait in a list in their order.

import type { Vocabulary } from "./vocabulary";

/** Larger than every rank: no token is these two parts together. */
const NO_MERGE = 0x7fffffff;
const NONE = -1;
const FIRST_CAPACITY = 64;
/** A longer piece gives its memory back. */
const KEPT_LENGTH = 4096;
/** From here on sorting the pairs of bytes is worth its fixed cost. */
const LISTED_LENGTH = 128;

export class PieceMerger {
  /** Bytes of the present piece; no more parts than these can come out. */
  length = 0;
  private readonly vocabulary: Vocabulary;
  private bytes: Uint8Array = new Uint8Array(0);
  /** Per part, at the position of its first byte: its rank, and where the next and the previous part start. */
  private ranks = new Int32Array(0);
  private next = new Int32Array(0);
  private previous = new Int32Array(0);
  /** Leaf `width + i`: the rank that the part at i makes with the next. A node is the smaller of its two children. */
  private tree = new Int32Array(0);
  /** Leaves of the present tree, a power of two; the root is node 1. */
  private width = 0;
  /** Of a long piece the positions of byte pairs that are tokens, by rank and position; those from `listed` on wait. */
  private list = new Int32Array(0);
  private listLength = 0;
  private listed = 0;

  constructor(vocabulary: Vocabulary) {
    this.vocabulary = vocabulary;
  }

  /** Starts on `bytes[0, length)`, at least one, which must stay unchanged until the last `step`. */
  begin(bytes: Uint8Array, length: number): void {
    this.bytes = bytes;
    this.length = length;
    this.reserve(length);
    const { vocabulary, ranks, next, previous, tree } = this;
    let width = 2;
    while (width < length) width *= 2;
    this.width = width;
    for (let i = 0; i < length; i++) {
      ranks[i] = vocabulary.rankOf(bytes, i, i + 1);
      next[i] = i + 1;
      previous[i] = i - 1;
    }
    this.listed = 0;
    this.listLength = 0;
    if (length >= LISTED_LENGTH) {
      tree.fill(NO_MERGE, 1, 2 * width);
      this.listPairs();
    } else {
      this.plantPairs();
    }
  }

  /** Does at most `merges` merges; true when none is left to do. */
  step(merges: number): boolean {
    const { ranks, next, previous, tree, length } = this;
    let lastRank = NO_MERGE;
    let from = 0;
    for (let merge = 0; merge < merges; merge++) {
      const listedRank = this.listedRank();
      const rank = Math.min(listedRank, tree[1]!);
      if (rank === NO_MERGE) return true;
      let left: number;
      if (rank === listedRank) {
        left = this.list[this.listed++]!;
      } else {
        // No pair with a token of this rank can have this rank again, so the same rank goes on to the right of here.
        left = rank === lastRank ? this.firstFrom(from, rank) : this.firstUnder(1, rank);
        from = left;
      }
      lastRank = rank;
      const right = next[left]!;
      const after = next[right]!;
      const before = previous[left]!;
      ranks[left] = rank;
      next[left] = after;
      // Inside a part now: a pair of bytes in the list that starts here is gone.
      next[right] = NONE;
      this.setPair(right, NO_MERGE);
      if (after < length) {
        previous[after] = left;
        this.setPair(left, this.rankOfPair(left, after));
      } else {
        this.setPair(left, NO_MERGE);
      }
      if (before !== NONE) this.setPair(before, this.rankOfPair(before, left));
    }
    return false;
  }

  /** After the last `step`: writes the ranks of the parts to `ids` from `at` on, and returns the position after them. */
  write(ids: Int32Array, at: number): number {
    const { ranks, next, length } = this;
    let written = at;
    for (let part = 0; part < length; part = next[part]!) ids[written++] = ranks[part]!;
    return written;
  }

  /** Gives back what long pieces needed. */
  trim(): void {
    if (this.ranks.length <= KEPT_LENGTH) return;
    this.ranks = new Int32Array(0);
    this.next = new Int32Array(0);
    this.previous = new Int32Array(0);
    this.tree = new Int32Array(0);
    this.list = new Int32Array(0);
  }

  /** Puts all pairs of bytes into the tree. */
  private plantPairs(): void {
    const { vocabulary, bytes, tree, width, length } = this;
    for (let i = 0; i < length; i++) {
      const rank = i + 1 < length ? vocabulary.rankOf(bytes, i, i + 2) : NONE;
      tree[width + i] = rank === NONE ? NO_MERGE : rank;
    }
    tree.fill(NO_MERGE, width + length, 2 * width);
    for (let node = width - 1; node > 0; node--) {
      tree[node] = Math.min(tree[2 * node]!, tree[2 * node + 1]!);
    }
  }

  /** Sorts the positions of all pairs of bytes by rank, by counting how often each pair occurs. */
  private listPairs(): void {
    const { bytes, list, length } = this;
    const { order, count } = this.vocabulary.pairOrder();
    const ends = new Int32Array(count + 1);
    for (let i = 0; i + 1 < length; i++) ends[order[bytes[i]! * 256 + bytes[i + 1]!]!]!++;
    for (let pair = 1; pair < count; pair++) ends[pair]! += ends[pair - 1]!;
    this.listLength = count === 0 ? 0 : ends[count - 1]!;
    for (let i = length - 2; i >= 0; i--) {
      const pair = order[bytes[i]! * 256 + bytes[i + 1]!]!;
      if (pair < count) list[--ends[pair]!] = i;
    }
  }

  /** The lowest rank in the list, whose position is at `listed`. Positions whose bytes were merged meanwhile are left out. */
  private listedRank(): number {
    const { list, listLength, next } = this;
    for (; this.listed < listLength; this.listed++) {
      const at = list[this.listed]!;
      if (next[at] === at + 1 && next[at + 1] === at + 2)
        return this.vocabulary.rankOf(this.bytes, at, at + 2);
    }
    return NO_MERGE;
  }

  /** The rank of the parts that start at `left` and `right` together. */
  private rankOfPair(left: number, right: number): number {
    const { ranks, next, bytes } = this;
    const rank = this.vocabulary.rankOfMerge(ranks[left]!, ranks[right]!, bytes, left, next[right]!);
    return rank === NONE ? NO_MERGE : rank;
  }

  /** The first position with `rank`, where the root holds `rank` and no position before `position` has it. */
  private firstFrom(position: number, rank: number): number {
    const { tree } = this;
    let node = this.width + position;
    if (tree[node] === rank) return position;
    while (node & 1 || tree[node + 1] !== rank) node >>= 1;
    return this.firstUnder(node + 1, rank);
  }

  /** The first position with `rank` below `node`, which holds it. */
  private firstUnder(node: number, rank: number): number {
    const { tree, width } = this;
    let at = node;
    while (at < width) {
      at *= 2;
      if (tree[at] !== rank) at++;
    }
    return at - width;
  }

  private setPair(position: number, rank: number): void {
    const { tree } = this;
    let node = this.width + position;
    if (tree[node] === rank) return;
    tree[node] = rank;
    while (node > 1) {
      const smaller = Math.min(tree[node]!, tree[node ^ 1]!);
      node >>= 1;
      if (tree[node] === smaller) return;
      tree[node] = smaller;
    }
  }

  private reserve(length: number): void {
    if (length <= this.ranks.length) return;
    let capacity = FIRST_CAPACITY;
    while (capacity < length) capacity *= 2;
    this.ranks = new Int32Array(capacity);
    this.next = new Int32Array(capacity);
    this.previous = new Int32Array(capacity);
    this.tree = new Int32Array(2 * capacity);
    this.list = new Int32Array(capacity);
  }
}
