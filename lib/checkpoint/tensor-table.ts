// All tensors of a checkpoint as columns of numbers, found by the bytes of their names. 208,215 tensors take about
// 25 MB and leave nothing for the garbage collector; a name becomes a JavaScript string only for an error.

import { nameHash } from "./name-hash";
import type { StoredType } from "./stored-type";

/** More dimensions than any published tensor has. */
export const MAX_RANK = 8;

/** An entry of a published index or header has more bytes, so that the first size of the columns mostly suffices. */
const ENTRY_BYTES = 64;

export class TensorTable {
  /** Number of tensors; ids are 0..count-1 in order of first appearance. */
  count = 0;
  /** The file that the index names, or -1 without an index. */
  indexFile: Int32Array<ArrayBuffer>;
  /** The file whose header describes the tensor, or -1 before it was seen. */
  file: Int32Array<ArrayBuffer>;
  /** Absolute position of the first byte in the file, and number of bytes. */
  offset: Float64Array<ArrayBuffer>;
  bytes: Float64Array<ArrayBuffer>;
  type: Uint8Array<ArrayBuffer>;
  /** 1 once the weight table uses the tensor. */
  used: Uint8Array<ArrayBuffer>;

  private rank: Uint8Array<ArrayBuffer>;
  private shapeStart: Uint32Array<ArrayBuffer>;
  private shapes: Float64Array<ArrayBuffer>;
  private shapesLength = 0;

  private readonly names: Uint8Array<ArrayBuffer>;
  private nameEnd: Float64Array<ArrayBuffer>;
  private hashes: Int32Array<ArrayBuffer>;
  /** Open addressing: id + 1, or 0. Always a power of two, at most half full. */
  private slots: Int32Array<ArrayBuffer>;

  /** `textBytes`: size of the JSON that all names come from. Memory of it that stays untouched costs nothing. */
  constructor(textBytes: number) {
    const capacity = Math.max(64, Math.ceil(textBytes / ENTRY_BYTES));
    this.indexFile = new Int32Array(capacity);
    this.file = new Int32Array(capacity);
    this.offset = new Float64Array(capacity);
    this.bytes = new Float64Array(capacity);
    this.type = new Uint8Array(capacity);
    this.used = new Uint8Array(capacity);
    this.rank = new Uint8Array(capacity);
    this.shapeStart = new Uint32Array(capacity);
    this.shapes = new Float64Array(2 * capacity);
    this.names = new Uint8Array(textBytes);
    this.nameEnd = new Float64Array(capacity);
    this.hashes = new Int32Array(capacity);
    this.slots = new Int32Array(2 ** Math.ceil(Math.log2(2 * capacity)));
  }

  /** The id of a name, or -1. */
  find(bytes: Uint8Array, start: number, end: number): number {
    return this.slots[this.slotOf(bytes, start, end, nameHash(bytes, start, end))]! - 1;
  }

  /** Adds a name and returns its id, or -1 when it is there already. */
  add(bytes: Uint8Array, start: number, end: number): number {
    const hash = nameHash(bytes, start, end);
    let slot = this.slotOf(bytes, start, end, hash);
    if (this.slots[slot] !== 0) return -1;
    if (2 * (this.count + 1) > this.slots.length) {
      this.growSlots();
      slot = this.slotOf(bytes, start, end, hash);
    }
    const id = this.count++;
    if (id === this.file.length) this.growColumns();
    let nameEnd = id === 0 ? 0 : this.nameEnd[id - 1]!;
    for (let i = start; i < end; i++) this.names[nameEnd++] = bytes[i]!;
    this.nameEnd[id] = nameEnd;
    this.hashes[id] = hash;
    this.slots[slot] = id + 1;
    this.indexFile[id] = -1;
    this.file[id] = -1;
    return id;
  }

  /** Records what the header of `file` says about a tensor. `shape` is copied. */
  describe(
    id: number,
    file: number,
    type: StoredType,
    offset: number,
    bytes: number,
    shape: Float64Array,
    rank: number,
  ): void {
    this.file[id] = file;
    this.type[id] = type;
    this.offset[id] = offset;
    this.bytes[id] = bytes;
    this.rank[id] = rank;
    this.shapeStart[id] = this.shapesLength;
    if (this.shapesLength + rank > this.shapes.length) this.shapes = grown(this.shapes, Float64Array);
    for (let i = 0; i < rank; i++) this.shapes[this.shapesLength++] = shape[i]!;
  }

  name(id: number): string {
    return Buffer.from(this.nameView(id)).toString("utf8");
  }

  /** The bytes of a name, in place. */
  nameView(id: number): Uint8Array {
    return this.names.subarray(id === 0 ? 0 : this.nameEnd[id - 1]!, this.nameEnd[id]!);
  }

  /** Number of dimensions. */
  rankOf(id: number): number {
    return this.rank[id]!;
  }

  /** One dimension, which must be below `rankOf(id)`. */
  dimension(id: number, index: number): number {
    return this.shapes[this.shapeStart[id]! + index]!;
  }

  /** The shape, in place. */
  shape(id: number): Float64Array {
    const start = this.shapeStart[id]!;
    return this.shapes.subarray(start, start + this.rank[id]!);
  }

  /** Whether the shape is exactly [rows, columns], or [columns] when `rows` is undefined. */
  hasShape(id: number, rows: number | undefined, columns: number): boolean {
    const start = this.shapeStart[id]!;
    if (rows === undefined) return this.rank[id] === 1 && this.shapes[start] === columns;
    return this.rank[id] === 2 && this.shapes[start] === rows && this.shapes[start + 1] === columns;
  }

  /** The slot that holds the name, or the empty one where it belongs. */
  private slotOf(bytes: Uint8Array, start: number, end: number, hash: number): number {
    const mask = this.slots.length - 1;
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      const id = this.slots[slot]! - 1;
      if (id < 0 || (this.hashes[id] === hash && this.nameEquals(id, bytes, start, end))) return slot;
    }
  }

  private nameEquals(id: number, bytes: Uint8Array, start: number, end: number): boolean {
    const nameStart = id === 0 ? 0 : this.nameEnd[id - 1]!;
    const length = end - start;
    if (this.nameEnd[id]! - nameStart !== length) return false;
    for (let i = length - 1; i >= 0; i--) {
      if (this.names[nameStart + i] !== bytes[start + i]) return false;
    }
    return true;
  }

  private growSlots(): void {
    const slots = new Int32Array(2 * this.slots.length);
    const mask = slots.length - 1;
    for (let id = 0; id < this.count; id++) {
      let slot = this.hashes[id]! & mask;
      while (slots[slot] !== 0) slot = (slot + 1) & mask;
      slots[slot] = id + 1;
    }
    this.slots = slots;
  }

  private growColumns(): void {
    this.indexFile = grown(this.indexFile, Int32Array);
    this.file = grown(this.file, Int32Array);
    this.offset = grown(this.offset, Float64Array);
    this.bytes = grown(this.bytes, Float64Array);
    this.type = grown(this.type, Uint8Array);
    this.used = grown(this.used, Uint8Array);
    this.rank = grown(this.rank, Uint8Array);
    this.shapeStart = grown(this.shapeStart, Uint32Array);
    this.nameEnd = grown(this.nameEnd, Float64Array);
    this.hashes = grown(this.hashes, Int32Array);
  }
}

type Column =
  | Int32Array<ArrayBuffer>
  | Uint32Array<ArrayBuffer>
  | Uint8Array<ArrayBuffer>
  | Float64Array<ArrayBuffer>;

/** A copy of twice the length. */
function grown<T extends Column>(column: T, kind: new (length: number) => T): T {
  const larger = new kind(2 * column.length);
  larger.set(column);
  return larger;
}
