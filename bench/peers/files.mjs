// The two files: a safetensors checkpoint as k2-native reads it, and the same model as GGUF (llama.cpp's deepseek2 with
// latent attention in its split form). Tensors are written one after the other; the sizes are known before.

import { closeSync, openSync, writeSync } from "node:fs";

function writeAll(file, buffer) {
  for (let done = 0; done < buffer.length; ) done += writeSync(file, buffer, done, buffer.length - done);
}

const DTYPE_BYTES = { BF16: 2, F32: 4, I32: 4 };

/** Writes tensors { name, dtype, shape } whose content `contentOf(name)` gives. */
export function writeSafetensors(path, tensors, contentOf) {
  const entries = {};
  let end = 0;
  for (const { name, dtype, shape } of tensors) {
    const begin = end;
    end += shape.reduce((product, size) => product * size, DTYPE_BYTES[dtype]);
    entries[name] = { dtype, shape, data_offsets: [begin, end] };
  }
  const json = Buffer.from(JSON.stringify(entries));
  const header = Buffer.alloc(8 + 64 * Math.ceil(json.length / 64), " ");
  header.writeBigUInt64LE(BigInt(header.length - 8));
  json.copy(header, 8);
  const file = openSync(path, "w");
  writeAll(file, header);
  for (const { name } of tensors) writeAll(file, contentOf(name));
  closeSync(file);
}

const GGUF_TYPES = {
  F32: { id: 0, block: 1, bytes: 4 },
  BF16: { id: 30, block: 1, bytes: 2 },
  Q4_0: { id: 2, block: 32, bytes: 18 },
};
const KEY_TYPES = { u32: 4, i32: 5, f32: 6, bool: 7, string: 8, array: 9 };
const ALIGNMENT = 32;

function integer(value, bytes) {
  const buffer = Buffer.alloc(bytes);
  if (bytes === 8) buffer.writeBigUInt64LE(BigInt(value));
  else buffer.writeInt32LE(value | 0);
  return buffer;
}

function encode(type, value) {
  if (type === "bool") return Buffer.from([value ? 1 : 0]);
  if (type === "f32") {
    const buffer = Buffer.alloc(4);
    buffer.writeFloatLE(value);
    return buffer;
  }
  if (type !== "string") return integer(value, 4);
  const text = Buffer.from(value, "utf8");
  return Buffer.concat([integer(text.length, 8), text]);
}

function encodeKey([key, type, value]) {
  const name = encode("string", key);
  if (!Array.isArray(value)) return Buffer.concat([name, integer(KEY_TYPES[type], 4), encode(type, value)]);
  return Buffer.concat([
    name,
    integer(KEY_TYPES.array, 4),
    integer(KEY_TYPES[type], 4),
    integer(value.length, 8),
    ...value.map((one) => encode(type, one)),
  ]);
}

/** Writes keys [name, type, value] and tensors { name, type, dims }, narrowest dimension first. */
export function writeGguf(path, keys, tensors, contentOf) {
  const padding = (bytes) => (ALIGNMENT - (bytes % ALIGNMENT)) % ALIGNMENT;
  let offset = 0;
  const infos = tensors.map(({ name, type, dims }) => {
    const { id, block, bytes } = GGUF_TYPES[type];
    const size = (dims.reduce((product, dim) => product * dim) / block) * bytes;
    const info = [encode("string", name), integer(dims.length, 4), ...dims.map((dim) => integer(dim, 8))];
    const whole = Buffer.concat([...info, integer(id, 4), integer(offset, 8)]);
    offset += size + padding(size);
    return whole;
  });
  const head = [Buffer.from("GGUF"), integer(3, 4), integer(tensors.length, 8), integer(keys.length, 8)];
  const header = Buffer.concat([...head, ...keys.map(encodeKey), ...infos]);
  const file = openSync(path, "w");
  writeAll(file, header);
  writeAll(file, Buffer.alloc(padding(header.length)));
  for (const { name } of tensors) {
    const content = contentOf(name);
    writeAll(file, content);
    writeAll(file, Buffer.alloc(padding(content.length)));
  }
  closeSync(file);
}
