// The header of a safetensors file: 8 bytes of length, then JSON {name: {dtype, shape, data_offsets}}, then data.
// Strict as the format's own reader: every byte of the data belongs to exactly one tensor, every size is proven
// against the file before it is used. One linear pass over the bytes, in time slices.

import type { FileHandle } from "node:fs/promises";
import type { TimeSlice } from "../time-slice";
import { type CheckpointFile, damaged } from "./faults";
import type { JsonStream } from "./json-stream";
import { STORED_TYPES, type StoredType } from "./stored-type";
import { MAX_RANK, type TensorTable } from "./tensor-table";

/** The limit of the format's own reader. */
const MAX_HEADER_BYTES = 100_000_000;

/** What stays the same for all headers of a checkpoint. */
export interface HeaderReading {
  readonly stream: JsonStream;
  readonly table: TensorTable;
  readonly slice: TimeSlice;
}

/** One safetensors file, open for reading. `bytes` is its size. */
export interface OpenShard {
  readonly file: CheckpointFile;
  readonly handle: FileHandle;
  readonly bytes: number;
}

/** Reads the length prefix and proves it against the size of the file. Returns the bytes of the header. */
export async function readHeaderLength({ file, handle, bytes }: OpenShard): Promise<number> {
  const prefix = new Uint8Array(8);
  const { bytesRead } = await handle.read(prefix, 0, 8, 0);
  if (bytesRead < 8) {
    throw damaged({ file, expected: "8 bytes of header length", got: `a file of ${bytesRead} bytes` });
  }
  const length = new DataView(prefix.buffer).getBigUint64(0, true);
  if (length < 2n || length > MAX_HEADER_BYTES) {
    throw damaged({ file, expected: `a header length from 2 to ${MAX_HEADER_BYTES}`, got: String(length) });
  }
  if (Number(length) > bytes - 8) {
    throw damaged({
      file,
      expected: `a header length within its ${bytes} bytes`,
      got: `${length} bytes of header`,
    });
  }
  return Number(length);
}

/**
 * Reads one header and describes its tensors in the table. `claim` is called for each name, which is the string
 * that `stream` read last, and returns the tensor's id or throws.
 */
export async function readHeader(
  reading: HeaderReading,
  shard: OpenShard,
  fileNumber: number,
  headerBytes: number,
  claim: () => number,
): Promise<void> {
  const { stream, table, slice } = reading;
  await stream.open(shard.handle, shard.file, 8, 8 + headerBytes);
  slice.checkAbort();
  const extents = new Extents(table, 8 + headerBytes, shard);
  const entry = new HeaderEntry(stream, shard.bytes - 8 - headerBytes);
  let hasMetadata = false;
  let current = -1;
  const currentName = () => table.name(current);
  stream.take("{");
  if (stream.offset !== 9) throw stream.fault("a header that begins with '{'", "white space");
  if (!stream.takeIf("}")) {
    do {
      if (stream.short) await stream.fill();
      stream.string("a tensor name");
      if (stream.textIs("__metadata__")) {
        if (hasMetadata) throw stream.fault("one __metadata__", "a second one");
        hasMetadata = true;
        await skipMetadata(reading);
      } else {
        const id = claim();
        current = id;
        stream.tensor = currentName;
        entry.read();
        table.describe(
          id,
          fileNumber,
          entry.type,
          8 + headerBytes + entry.begin,
          entry.end - entry.begin,
          entry.shape,
          entry.rank,
        );
        extents.add(id);
        stream.tensor = undefined;
      }
      if (slice.isOver) await slice.pause();
    } while (stream.takeIf(","));
    stream.take("}");
  }
  if (!(await stream.atEnd())) throw stream.unexpected("nothing but spaces after the header");
  await extents.prove(slice);
}

/** `__metadata__` is a map from strings to strings, or null; nothing in it is used. */
async function skipMetadata({ stream, slice }: HeaderReading): Promise<void> {
  stream.take(":");
  if (stream.peek() !== 0x7b) {
    stream.skipLiteral("null", "an object of strings for __metadata__");
    return;
  }
  stream.take("{");
  if (stream.takeIf("}")) return;
  do {
    if (stream.short) await stream.fill();
    stream.string("a key of __metadata__");
    stream.take(":");
    stream.string("a string in __metadata__");
    if (slice.isOver) await slice.pause();
  } while (stream.takeIf(","));
  stream.take("}");
}

/** The value of one entry; the fields hold the entry read last. */
class HeaderEntry {
  type: StoredType = 0;
  begin = 0;
  end = 0;
  rank = 0;
  readonly shape = new Float64Array(MAX_RANK);

  constructor(
    private readonly stream: JsonStream,
    private readonly dataBytes: number,
  ) {}

  read(): void {
    const { stream } = this;
    let seen = 0;
    stream.take(":");
    stream.take("{");
    do {
      stream.string("dtype, shape and data_offsets");
      const key = stream.textIs("dtype")
        ? 1
        : stream.textIs("shape")
          ? 2
          : stream.textIs("data_offsets")
            ? 4
            : 0;
      if (key === 0 || (seen & key) !== 0) {
        throw stream.fault(
          "dtype, shape and data_offsets once each",
          key === 0 ? "another key" : "a repeated key",
        );
      }
      seen |= key;
      stream.take(":");
      if (key === 1) this.readType();
      else if (key === 2) this.readShape();
      else this.readOffsets();
    } while (stream.takeIf(","));
    stream.take("}");
    if (seen !== 7) {
      const missing = (seen & 1) === 0 ? "dtype" : (seen & 2) === 0 ? "shape" : "data_offsets";
      throw stream.fault("dtype, shape and data_offsets", `no ${missing}`);
    }
    this.checkSize();
  }

  private readType(): void {
    this.stream.string("a dtype");
    // Neighbours mostly have equal types.
    if (this.stream.textIs(STORED_TYPES[this.type]!.name)) return;
    const type = STORED_TYPES.findIndex((candidate) => this.stream.textIs(candidate.name));
    if (type < 0) throw this.stream.fault("a dtype of the safetensors format", this.stream.textShown());
    this.type = type;
  }

  private readShape(): void {
    const { stream } = this;
    this.rank = 0;
    stream.take("[");
    if (stream.takeIf("]")) return;
    do {
      if (this.rank === MAX_RANK) throw stream.fault(`a shape of at most ${MAX_RANK} dimensions`, "more");
      this.shape[this.rank++] = stream.count("a dimension");
    } while (stream.takeIf(","));
    stream.take("]");
  }

  private readOffsets(): void {
    const { stream } = this;
    stream.take("[");
    this.begin = stream.count("a data offset");
    stream.take(",");
    this.end = stream.count("a data offset");
    stream.take("]");
    if (this.begin > this.end) {
      throw stream.fault("ascending data_offsets", `[${this.begin}, ${this.end}]`);
    }
    if (this.end > this.dataBytes) {
      throw stream.fault(
        `data_offsets within the ${this.dataBytes} bytes of data`,
        `[${this.begin}, ${this.end}]`,
      );
    }
  }

  private checkSize(): void {
    const { name, bits } = STORED_TYPES[this.type]!;
    // The product is exact while it stays below 2^53, and it is checked after each factor.
    let total = bits;
    for (let i = 0; i < this.rank; i++) {
      total *= this.shape[i]!;
      if (total > Number.MAX_SAFE_INTEGER)
        throw this.stream.fault("a shape of less than 2^53 bits", this.sizeText());
    }
    const stored = this.end - this.begin;
    if (total % 8 === 0 && total / 8 === stored) return;
    throw this.stream.fault(`${total / 8} bytes for ${name} ${this.sizeText()}`, `${stored} bytes of data`);
  }

  private sizeText(): string {
    return `[${this.shape.subarray(0, this.rank).join(", ")}]`;
  }
}

/** The byte ranges of one file. They must follow each other from the first byte of data to the end of the file. */
class Extents {
  private ids = new Int32Array(64);
  private count = 0;
  private ascending = true;

  constructor(
    private readonly table: TensorTable,
    private readonly dataStart: number,
    private readonly shard: OpenShard,
  ) {}

  add(id: number): void {
    if (this.count === this.ids.length) {
      const larger = new Int32Array(2 * this.count);
      larger.set(this.ids);
      this.ids = larger;
    }
    if (this.count > 0 && !this.follows(this.ids[this.count - 1]!, id)) this.ascending = false;
    this.ids[this.count++] = id;
  }

  async prove(slice: TimeSlice): Promise<void> {
    const { table, shard } = this;
    const { file } = shard;
    if (!this.ascending) await this.sort(slice);
    let end = this.dataStart;
    let before = "the header";
    for (let i = 0; i < this.count; i++) {
      const id = this.ids[i]!;
      const begin = table.offset[id]!;
      if (begin !== end) {
        if (i > 0) before = `tensor ${table.name(this.ids[i - 1]!)}`;
        const what = begin < end ? "an overlap" : "a hole";
        throw damaged({
          file,
          tensor: table.name(id),
          expected: `data that begins where ${before} ends, at byte ${end},`,
          got: `${what}: byte ${begin}`,
        });
      }
      end = begin + table.bytes[id]!;
      if (slice.isOver) await slice.pause();
    }
    if (end !== shard.bytes) {
      throw damaged({ file, expected: `${end} bytes, all of them in tensors,`, got: `${shard.bytes} bytes` });
    }
  }

  /** Whether `second` may stand behind `first`; an empty tensor comes before the one that begins at the same byte. */
  private follows(first: number, second: number): boolean {
    const { offset, bytes } = this.table;
    if (offset[first]! !== offset[second]!) return offset[first]! < offset[second]!;
    return bytes[first]! <= bytes[second]!;
  }

  /** Bottom-up merge sort, because a sort of the standard library cannot pause. */
  private async sort(slice: TimeSlice): Promise<void> {
    let from = this.ids;
    let to = new Int32Array(from.length);
    for (let width = 1; width < this.count; width *= 2) {
      for (let start = 0; start < this.count; start += 2 * width) {
        const middle = Math.min(start + width, this.count);
        const stop = Math.min(start + 2 * width, this.count);
        let left = start;
        let right = middle;
        for (let at = start; at < stop; at++) {
          const takeLeft = left < middle && (right === stop || this.follows(from[left]!, from[right]!));
          to[at] = takeLeft ? from[left++]! : from[right++]!;
          if (slice.isOver) await slice.pause();
        }
      }
      [from, to] = [to, from];
    }
    this.ids = from;
  }
}
