// Reads fields of a parsed config with their limits. Every number that leaves here is finite and in range; every
// failure names the key as it is written in the file, with the objects around it.

import type { K2Error } from "../errors";
import { type CheckpointFile, damaged, shown, unsupported } from "./faults";
import type { JsonObject } from "./json-file";

/** Inclusive limits of a field, and its value when the key is absent; without `absent` the key is required. */
export interface Limits {
  readonly least: number;
  readonly most: number;
  readonly absent?: number | undefined;
}

export class ConfigReader {
  constructor(
    private readonly values: JsonObject,
    readonly file: CheckpointFile,
    private readonly prefix = "",
  ) {}

  /** The raw value; undefined when absent. Keys that a host application put on Object.prototype do not count. */
  value(key: string): unknown {
    return Object.hasOwn(this.values, key) ? this.values[key] : undefined;
  }

  /** Whether the key has a value other than null. */
  has(key: string): boolean {
    return this.value(key) !== undefined && this.value(key) !== null;
  }

  integer(key: string, { least, most, absent }: Limits): number {
    const value = this.value(key);
    if (value === undefined && absent !== undefined) return absent;
    if (Number.isInteger(value) && (value as number) >= least && (value as number) <= most) {
      return (value as number) + 0;
    }
    throw this.damaged(key, `an integer from ${least} to ${most}`);
  }

  /** As `integer`, but null means absent. */
  integerOrNull(key: string, limits: Limits): number {
    return this.value(key) === null && limits.absent !== undefined
      ? limits.absent
      : this.integer(key, limits);
  }

  number(key: string, { least, most, absent }: Limits): number {
    const value = this.value(key);
    if (value === undefined && absent !== undefined) return absent;
    if (typeof value === "number" && value >= least && value <= most) return value + 0;
    throw this.damaged(key, `a number from ${least} to ${most}`);
  }

  flag(key: string, absent: boolean): boolean {
    const value = this.value(key);
    if (value === undefined) return absent;
    if (typeof value === "boolean") return value;
    throw this.damaged(key, "true or false");
  }

  word(key: string, absent: string): string {
    const value = this.value(key);
    if (value === undefined) return absent;
    if (typeof value === "string") return value;
    throw this.damaged(key, "a string");
  }

  /** A list of strings; empty when absent or null. */
  words(key: string): readonly string[] {
    const value = this.value(key) ?? [];
    if (Array.isArray(value) && value.every((item) => typeof item === "string")) return value;
    throw this.damaged(key, "a list of strings");
  }

  /** Token ids given as one number or as a list; empty when absent or null. */
  tokenIds(key: string): readonly number[] {
    const value = this.value(key) ?? [];
    const list: readonly unknown[] = Array.isArray(value) ? value : [value];
    if (list.every((id) => Number.isInteger(id) && (id as number) >= 0 && (id as number) < 2 ** 31)) {
      return list as readonly number[];
    }
    throw this.damaged(key, "token ids from 0 to 2147483647");
  }

  /** A nested object, or undefined when absent or null. */
  section(key: string): ConfigReader | undefined {
    const value = this.value(key) ?? undefined;
    if (value === undefined) return undefined;
    if (typeof value !== "object" || Array.isArray(value)) throw this.damaged(key, "an object");
    return new ConfigReader(value as JsonObject, this.file, `${this.prefix}${key}.`);
  }

  /** All nested objects of this object. */
  sections(): ConfigReader[] {
    return Object.keys(this.values).flatMap((key) => this.section(key) ?? []);
  }

  /** The value contradicts the format or another value. */
  damaged(key: string, expected: string): K2Error {
    return damaged({ file: this.file, key: this.prefix + key, expected, got: shown(this.value(key)) });
  }

  /** The value asks for something that this build does not implement. */
  unsupported(key: string, expected: string): K2Error {
    return unsupported({ file: this.file, key: this.prefix + key, expected, got: shown(this.value(key)) });
  }
}
