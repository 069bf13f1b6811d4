// The table of tensors finds every name by its bytes, beyond its first size, and tells names apart whose hashes are
// equal (among 400,000 names some twenty pairs are).

import { expect, it } from "vitest";
import { nameHash } from "../../../lib/checkpoint/name-hash";
import { TensorTable } from "../../../lib/checkpoint/tensor-table";

const COUNT = 400_000;

it("finds 400,000 short names and no others", () => {
  const names = Array.from({ length: COUNT }, (_, i) => Buffer.from(`.${i.toString(36)}.`));
  const table = new TensorTable(names.reduce((sum, name) => sum + name.length, 0));
  const hashes = new Set<number>();
  const wrong: number[] = [];
  names.forEach((name, i) => {
    hashes.add(nameHash(name, 0, name.length));
    if (table.find(name, 0, name.length) !== -1 || table.add(name, 0, name.length) !== i) wrong.push(i);
  });
  expect(hashes.size).toBeLessThan(COUNT);
  expect(hashes.size).toBeGreaterThan(COUNT - 100);
  names.forEach((name, i) => {
    if (table.find(name, 0, name.length) !== i || table.add(name, 0, name.length) !== -1) wrong.push(i);
    if (table.find(name, 0, name.length - 1) !== -1 || table.find(name, 1, name.length) !== -1) wrong.push(i);
  });
  expect(wrong).toEqual([]);
  expect(table.count).toBe(COUNT);
  expect(table.name(COUNT - 1)).toBe(names.at(-1)!.toString());
});

it("keeps shapes and types beyond its first size", () => {
  const table = new TensorTable(3000);
  for (let i = 0; i < 500; i++) {
    const name = Buffer.from(`t${i}`);
    const id = table.add(name, 0, name.length);
    table.describe(id, i % 7, i % 20, 1000 * i, i, Float64Array.of(i, 2 * i, 3, 4, 5), 1 + (i % 5));
  }
  for (let i = 0; i < 500; i++) {
    expect([...table.shape(i)]).toEqual([i, 2 * i, 3, 4, 5].slice(0, 1 + (i % 5)));
    expect([table.file[i], table.type[i], table.offset[i], table.bytes[i]]).toEqual([
      i % 7,
      i % 20,
      1000 * i,
      i,
    ]);
    expect(table.hasShape(i, undefined, i)).toBe(i % 5 === 0);
    expect(table.hasShape(i, i, 2 * i)).toBe(i % 5 === 1);
  }
});
