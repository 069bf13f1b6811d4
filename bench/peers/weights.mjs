// Random weights of a small model of K2's architecture: every tensor is cut from a pool of random numbers, so that a
// gigabyte takes seconds, and can be had in the form of either file with exactly the same values.
//
// INT4 with a scale per 32 columns is Q4_0 with other bit order: scales are chosen so that BF16 and F16 both hold them.

const BLOCK = 32; // weights of one scale
const POOL_BLOCKS = 1 << 18;
const POOL_NUMBERS = 1 << 20;

export const SHAPE = {
  hidden: 2048,
  layers: 4,
  denseLayers: 1,
  denseWidth: 6144,
  expertWidth: 1024,
  experts: 64,
  chosen: 8,
  shared: 1,
  heads: 16,
  qRank: 512,
  kvRank: 512,
  nope: 128,
  rope: 64,
  value: 128,
  vocab: 4096,
  scaling: 2.827,
  ropeTheta: 50000,
  context: 8192,
};

function xorshift(seed) {
  let s = (seed * 2654435761 + 1) >>> 0 || 1;
  return () => {
    s ^= s << 13;
    s >>>= 0;
    s ^= s >>> 17;
    s ^= s << 5;
    s >>>= 0;
    return s;
  };
}

const bits = new Uint32Array(1);
const asFloat = new Float32Array(bits.buffer);

function toBf16(value) {
  asFloat[0] = value;
  return (bits[0] + 0x7fff + ((bits[0] >>> 16) & 1)) >>> 16;
}

function fromBf16(half) {
  bits[0] = half << 16;
  return asFloat[0];
}

/** Half precision of a number of normal size that it holds exactly. */
function toF16(value) {
  asFloat[0] = value;
  const exponent = ((bits[0] >>> 23) & 0xff) - 112;
  if (exponent <= 0 || exponent > 30 || (bits[0] & 0x1fff) !== 0) {
    throw new Error(`Expected a number that F16 holds, got ${value}`);
  }
  return ((bits[0] >>> 16) & 0x8000) | (exponent << 10) | ((bits[0] >>> 13) & 0x3ff);
}

/** Blocks of INT4 in both forms. */
function int4Pool(random, spread) {
  const words = Buffer.alloc(POOL_BLOCKS * 16);
  const scales = Buffer.alloc(POOL_BLOCKS * 2);
  const q4 = Buffer.alloc(POOL_BLOCKS * 18);
  for (let block = 0; block < POOL_BLOCKS; block += 1) {
    // All 16 values alike have a deviation of 4.6 steps; the sign of the scale is random because their mean is not 0.
    const sign = random() & 0x10000 ? 1 : -1;
    const scale = toBf16((sign * spread * (0.5 + random() / 2 ** 32)) / 4.6);
    scales.writeUInt16LE(scale, 2 * block);
    for (let i = 0; i < 16; i += 4) words.writeUInt32LE(random(), 16 * block + i);
    q4.writeUInt16LE(toF16(fromBf16(scale)), 18 * block);
    const nibble = (k) => (words[16 * block + (k >> 1)] >> (4 * (k & 1))) & 15;
    for (let j = 0; j < 16; j += 1) q4[18 * block + 2 + j] = nibble(j) | (nibble(j + 16) << 4);
  }
  return { words, scales, q4 };
}

/** Makes all tensors of the model, in the order of use. */
export class WeightMaker {
  constructor(seed) {
    this.random = xorshift(seed);
    this.int4Pools = new Map();
    this.bf16Pools = new Map();
  }

  /** [rows, columns] as { words, scales, q4 }. */
  int4(rows, columns) {
    const pool = this.pool(this.int4Pools, columns, (spread) => int4Pool(this.random, spread));
    const blocks = (rows * columns) / BLOCK;
    const start = this.random() % POOL_BLOCKS;
    const cut = (source, bytes) => wrapped(source, start * bytes, blocks * bytes);
    return { words: cut(pool.words, 16), scales: cut(pool.scales, 2), q4: cut(pool.q4, 18) };
  }

  /** [rows, columns] in BF16. */
  bf16(rows, columns, spread) {
    const pool = this.pool(this.bf16Pools, spread === undefined ? columns : -spread, (deviation) => {
      const numbers = Buffer.alloc(2 * POOL_NUMBERS);
      for (let i = 0; i < POOL_NUMBERS; i += 1) {
        numbers.writeUInt16LE(toBf16((this.random() / 2 ** 32 - 0.5) * 2 * Math.sqrt(3) * deviation), 2 * i);
      }
      return numbers;
    });
    return wrapped(pool, 2 * (this.random() % POOL_NUMBERS), 2 * rows * columns);
  }

  /** Numbers around 1 in BF16, for norms. */
  norm(length) {
    const numbers = Buffer.alloc(2 * length);
    for (let i = 0; i < length; i += 1)
      numbers.writeUInt16LE(toBf16(0.9 + (0.2 * this.random()) / 2 ** 32), 2 * i);
    return numbers;
  }

  /** Small numbers in F32, for the bias of the router. */
  bias(length) {
    const numbers = Buffer.alloc(4 * length);
    for (let i = 0; i < length; i += 1) numbers.writeFloatLE(0.02 * (this.random() / 2 ** 32 - 0.5), 4 * i);
    return numbers;
  }

  /** Pools by the spread of their numbers: a positive key is a number of columns, a negative one the spread itself. */
  pool(pools, key, make) {
    if (!pools.has(key)) pools.set(key, make(key > 0 ? 1 / Math.sqrt(key) : -key));
    return pools.get(key);
  }
}

/** `length` bytes of a ring from `start` on. */
function wrapped(ring, start, length) {
  const out = Buffer.alloc(length);
  for (let done = 0, at = start % ring.length; done < length; at = 0) {
    done += ring.copy(out, done, at, Math.min(ring.length, at + length - done));
  }
  return out;
}

export function bf16ToF32(half) {
  const out = Buffer.alloc(2 * half.length);
  for (let i = 0; i < half.length; i += 2) {
    out[2 * i + 2] = half[i];
    out[2 * i + 3] = half[i + 1];
  }
  return out;
}

/** [rows, columns] of BF16 as [columns, rows]. */
export function transposed(half, rows, columns) {
  const out = Buffer.alloc(half.length);
  for (let row = 0; row < rows; row += 1) {
    for (let column = 0; column < columns; column += 1) {
      out.writeUInt16LE(half.readUInt16LE(2 * (row * columns + column)), 2 * (column * rows + row));
    }
  }
  return out;
}
