// Writes safetensors bytes, and numbers in the formats of checkpoints. Independent of lib/checkpoint, which reads them.

export interface TensorData {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly data: Uint8Array;
}

export interface HeaderEntry {
  dtype: string;
  shape: number[];
  data_offsets: number[];
}

/** The entries of a header for tensors that lie one behind the other. */
export function headerOf(tensors: readonly TensorData[]): Record<string, HeaderEntry> {
  const entries: Record<string, HeaderEntry> = {};
  let end = 0;
  for (const { name, dtype, shape, data } of tensors) {
    entries[name] = { dtype, shape: [...shape], data_offsets: [end, end + data.length] };
    end += data.length;
  }
  return entries;
}

/** A file with this header text, space-padded to 8 bytes unless told otherwise, and this data. */
export function encodeFile(header: string | Uint8Array, data: Uint8Array, pad = true): Buffer {
  const text = Buffer.from(header as string);
  const length = pad ? 8 * Math.ceil(text.length / 8) : text.length;
  const file = Buffer.alloc(8 + length + data.length, " ");
  file.writeBigUInt64LE(BigInt(length));
  text.copy(file, 8);
  file.set(data, 8 + length);
  return file;
}

/** A whole safetensors file. */
export function encodeSafetensors(tensors: readonly TensorData[]): Buffer {
  const header = JSON.stringify({ __metadata__: { format: "pt" }, ...headerOf(tensors) });
  return encodeFile(header, Buffer.concat(tensors.map((tensor) => tensor.data)));
}

/** Round to nearest, ties to even. */
export function toBf16(values: Float32Array): Uint8Array {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const out = new Uint16Array(values.length);
  for (let i = 0; i < out.length; i++) {
    const value = bits[i]!;
    out[i] = (value + 0x7fff + ((value >>> 16) & 1)) >>> 16;
  }
  return new Uint8Array(out.buffer);
}

/** Truncates to half precision; values of normal size only. */
export function toF16(values: Float32Array): Uint8Array {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const out = new Uint16Array(values.length);
  for (let i = 0; i < out.length; i++) {
    const value = bits[i]!;
    const exponent = ((value >>> 23) & 0xff) - 112;
    const sign = (value >>> 16) & 0x8000;
    out[i] = exponent <= 0 ? sign : sign | (Math.min(exponent, 30) << 10) | ((value >>> 13) & 0x3ff);
  }
  return new Uint8Array(out.buffer);
}

/** Plain numbers in a format of checkpoints. */
export function toPlain(values: Float32Array, dtype: "BF16" | "F16" | "F32"): Uint8Array {
  if (dtype === "BF16") return toBf16(values);
  if (dtype === "F16") return toF16(values);
  return new Uint8Array(values.slice().buffer);
}
