// The element types that a safetensors header may name, and which of them the engine computes with.

import { Storage } from "../addon/contract";

/** Index into STORED_TYPES. */
export type StoredType = number;

interface StoredTypeInfo {
  readonly name: string;
  readonly bits: number;
}

/** Every type of the format, the frequent ones first. */
export const STORED_TYPES: readonly StoredTypeInfo[] = [
  { name: "BF16", bits: 16 },
  { name: "I32", bits: 32 },
  { name: "F32", bits: 32 },
  { name: "F16", bits: 16 },
  { name: "F8_E4M3", bits: 8 },
  { name: "I64", bits: 64 },
  { name: "F64", bits: 64 },
  { name: "F8_E5M2", bits: 8 },
  { name: "F8_E8M0", bits: 8 },
  { name: "F8_E4M3FNUZ", bits: 8 },
  { name: "F8_E5M2FNUZ", bits: 8 },
  { name: "F6_E2M3", bits: 6 },
  { name: "F6_E3M2", bits: 6 },
  { name: "F4", bits: 4 },
  { name: "C64", bits: 64 },
  { name: "I8", bits: 8 },
  { name: "U8", bits: 8 },
  { name: "I16", bits: 16 },
  { name: "U16", bits: 16 },
  { name: "U32", bits: 32 },
  { name: "U64", bits: 64 },
  { name: "BOOL", bits: 8 },
];

function typeOf(name: string): StoredType {
  return STORED_TYPES.findIndex((type) => type.name === name);
}

export const I32 = typeOf("I32");
export const I64 = typeOf("I64");
export const F8_E4M3 = typeOf("F8_E4M3");

const PLAIN = new Map<StoredType, Storage>([
  [typeOf("BF16"), Storage.Bf16],
  [typeOf("F16"), Storage.F16],
  [typeOf("F32"), Storage.F32],
]);

/** The storage of an unquantised tensor or of a scale, or undefined when the type cannot be one. */
export function plainStorage(type: StoredType): Storage | undefined {
  return PLAIN.get(type);
}

// Types that other quantisation schemes store weights or scales in: such a checkpoint is sound, we lack the scheme.
const OTHER_SCHEMES = new Set(
  ["F64", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "F6_E2M3", "F6_E3M2", "F4", "I8", "U8"].map(
    typeOf,
  ),
);

/** Whether weights of this type make a checkpoint unsupported rather than damaged. */
export function isOtherScheme(type: StoredType): boolean {
  return OTHER_SCHEMES.has(type);
}
