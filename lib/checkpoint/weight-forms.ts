// How one weight is stored, decided by which tensors exist: plain `.weight`, FP8 `.weight` with block scales, or INT4
// `.weight_packed` with group scales. Every companion is checked before anything is said about the weight.

import { Storage, WEIGHT_FIELDS, WeightField } from "../addon/contract";
import type { K2Error } from "../errors";
import type { ExpectedWeight } from "./expected-weights";
import { type CheckpointFile, damaged, shapeText, unsupported } from "./faults";
import type { BlockSize } from "./quantization-config";
import { F8_E4M3, I32, I64, isOtherScheme, plainStorage, STORED_TYPES } from "./stored-type";
import type { TensorTable } from "./tensor-table";

/** INT4 values of one 32-bit word. */
const PER_WORD = 8;
/** Group sizes that the kernels walk in whole steps. */
const GROUP_STEP = 32;

/** What stays the same for all weights. `origin` is the file that a missing tensor is missing from. */
export interface FormContext {
  readonly table: TensorTable;
  readonly files: readonly CheckpointFile[];
  readonly origin: CheckpointFile;
  readonly blockSize: BlockSize;
}

export class WeightForms {
  private readonly name = Buffer.alloc(1024);
  private nameLength = 0;
  private weight!: ExpectedWeight;
  private module = "";
  private rows!: Float64Array;
  private start = 0;
  /** The form found last; neighbours mostly have the same. */
  private packedBefore = false;

  constructor(private readonly context: FormContext) {}

  /** Finds and checks the tensors of `weight`, marks them used, and writes its row at `rows[start...]`. */
  resolve(weight: ExpectedWeight, module: string, rows: Float64Array, start: number): void {
    this.weight = weight;
    this.module = module;
    this.rows = rows;
    this.start = start;
    this.nameLength = this.name.write(module, 0, "latin1");
    rows.fill(-1, start, start + WEIGHT_FIELDS);
    this.set(WeightField.Slot, weight.slot);
    this.set(WeightField.Layer, weight.layer);
    this.set(WeightField.Expert, weight.expert);
    this.set(WeightField.Rows, weight.rows);
    this.set(WeightField.Columns, weight.columns);

    const suffix = module.endsWith(".e_score_correction_bias") ? "" : ".weight";
    if (weight.kind !== "matrix") {
      this.plainOrFp8(this.find(suffix), suffix);
      return;
    }
    let packed = this.packedBefore ? this.find(".weight_packed") : -1;
    const whole = packed < 0 ? this.find(suffix) : -1;
    if (packed < 0 && whole < 0) packed = this.find(".weight_packed");
    this.packedBefore = packed >= 0;
    if (packed >= 0) this.int4(packed);
    else this.plainOrFp8(whole, suffix);
  }

  private plainOrFp8(id: number, suffix: string): void {
    const { table } = this.context;
    const { rows, columns, kind } = this.weight;
    if (id < 0) throw this.missing(suffix);
    const type = table.type[id]!;
    const storage = plainStorage(type);
    const mayBeFp8 = kind === "matrix" || kind === "table";
    if (storage === undefined && !(mayBeFp8 && type === F8_E4M3)) throw this.wrongType(id, mayBeFp8);
    this.expectShape(id, kind === "vector" ? undefined : rows, columns);
    this.use(id, storage ?? Storage.F8E4m3);
    if (storage === undefined) this.fp8Scale();
  }

  /** `weight_scale_inv` (fp8 checkpoints) and `weight_scale` (compressed-tensors blocks) both multiply. */
  private fp8Scale(): void {
    const { rows, columns } = this.weight;
    const [blockRows, blockColumns] = this.context.blockSize;
    let scale = this.find(".weight_scale_inv");
    if (scale < 0) scale = this.find(".weight_scale");
    if (scale < 0) throw this.missing(".weight_scale_inv");
    this.expectShape(scale, Math.ceil(rows / blockRows), Math.ceil(columns / blockColumns));
    this.useScale(scale, blockRows, blockColumns);
  }

  private int4(packed: number): void {
    const { table } = this.context;
    const { rows, columns } = this.weight;
    if (columns % PER_WORD !== 0) {
      throw this.fault(unsupported, packed, `a number of columns that ${PER_WORD} divides`, `${columns}`);
    }
    this.expectType(packed, [I32]);
    this.expectShape(packed, rows, columns / PER_WORD);
    const scale = this.find(".weight_scale");
    if (scale < 0) throw this.missing(".weight_scale");
    const isPerRow = table.rankOf(scale) === 2 && table.dimension(scale, 0) === rows;
    const groups = isPerRow ? table.dimension(scale, 1) : 0;
    const group = columns / groups;
    // One scale per row is a group as wide as the row, whatever its width.
    const isGroup = groups === 1 || (Number.isInteger(group) && group % GROUP_STEP === 0);
    if (!isPerRow || !isGroup) {
      const expected = `shape [${rows}, groups], where ${columns} / groups is a multiple of ${GROUP_STEP} or groups is 1,`;
      throw this.fault(damaged, scale, expected, shapeText(table.shape(scale)));
    }
    // The content of weight_shape is garbage in published files, so that it is never read.
    const stated = this.find(".weight_shape");
    if (stated >= 0) {
      this.expectType(stated, [I32, I64]);
      this.expectShape(stated, undefined, 2);
      table.used[stated] = 1;
    }
    this.use(packed, Storage.Int4);
    this.useScale(scale, 1, group);
  }

  private set(field: WeightField, value: number): void {
    this.rows[this.start + field] = value;
  }

  /** The id of the module's tensor with this suffix, or -1. */
  private find(suffix: string): number {
    let length = this.nameLength;
    for (let i = 0; i < suffix.length; i++) this.name[length++] = suffix.charCodeAt(i);
    return this.context.table.find(this.name, 0, length);
  }

  private use(id: number, storage: Storage): void {
    const { table } = this.context;
    table.used[id] = 1;
    this.set(WeightField.Storage, storage);
    this.set(WeightField.File, table.file[id]!);
    this.set(WeightField.Offset, table.offset[id]!);
    this.set(WeightField.Bytes, table.bytes[id]!);
  }

  private useScale(id: number, blockRows: number, blockColumns: number): void {
    const { table } = this.context;
    const storage = plainStorage(table.type[id]!);
    if (storage === undefined) throw this.wrongType(id, false);
    table.used[id] = 1;
    this.set(WeightField.ScaleFile, table.file[id]!);
    this.set(WeightField.ScaleOffset, table.offset[id]!);
    this.set(WeightField.ScaleBytes, table.bytes[id]!);
    this.set(WeightField.ScaleStorage, storage);
    this.set(WeightField.BlockRows, blockRows);
    this.set(WeightField.BlockColumns, blockColumns);
  }

  private expectShape(id: number, rows: number | undefined, columns: number): void {
    const { table } = this.context;
    if (table.hasShape(id, rows, columns)) return;
    const expected = rows === undefined ? [columns] : [rows, columns];
    throw this.fault(damaged, id, `shape ${shapeText(expected)}`, shapeText(table.shape(id)));
  }

  private expectType(id: number, types: readonly number[]): void {
    const type = this.context.table.type[id]!;
    if (types.includes(type)) return;
    const expected = types.map((candidate) => STORED_TYPES[candidate]!.name).join(" or ");
    throw this.fault(damaged, id, `dtype ${expected}`, STORED_TYPES[type]!.name);
  }

  private wrongType(id: number, mayBeFp8: boolean): K2Error {
    const type = this.context.table.type[id]!;
    const expected = `dtype BF16, F16${mayBeFp8 ? ", F32 or F8_E4M3" : " or F32"}`;
    return this.fault(isOtherScheme(type) ? unsupported : damaged, id, expected, STORED_TYPES[type]!.name);
  }

  private fault(kind: typeof damaged, id: number, expected: string, got: string): K2Error {
    const { table, files } = this.context;
    return kind({ file: files[table.file[id]!]!, tensor: table.name(id), expected, got });
  }

  private missing(suffix: string): K2Error {
    const { rows, columns, kind } = this.weight;
    const shape = kind === "vector" ? [columns] : [rows, columns];
    const isWeight = suffix === ".weight" && kind === "matrix";
    return damaged({
      file: this.context.origin,
      tensor: this.module + suffix,
      expected: suffix.startsWith(".weight_scale")
        ? "the scales of a quantised weight"
        : `shape ${shapeText(shape)}`,
      got: isWeight ? "neither this tensor nor .weight_packed" : "no such tensor",
    });
  }
}
