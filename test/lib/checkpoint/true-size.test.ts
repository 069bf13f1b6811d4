// A checkpoint of the true size of K2 Thinking, with holes for weights, opens in a fresh process within the promised
// time and memory, and without holding the event loop.

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { compileCheckpointRoom, measureOpen } from "../../support/compiled-library";
import { temporaryFolder } from "../../support/write-checkpoint";

const { folder, remove } = temporaryFolder();
afterAll(remove);

interface Written {
  readonly tensors: number;
  readonly dataBytes: number;
  readonly apparentBytes: number;
  readonly diskBytes: number;
}

it("opens 594 GB", async (context) => {
  const tool = "../../../tools/make-checkpoint/true-size.mjs";
  const { writeTrueSizeCheckpoint } = (await import(tool)) as {
    writeTrueSizeCheckpoint: (folder: string) => Promise<Written>;
  };
  const checkpoint = join(folder, "checkpoint");
  const written = await writeTrueSizeCheckpoint(checkpoint).catch((error: NodeJS.ErrnoException) => error);
  if (written instanceof Error)
    return context.skip(`this file system has no room for holes: ${written.message}`);
  expect(written.tensors).toBe(208_215);
  expect(written.dataBytes).toBe(594_205_904_896);
  expect(written.diskBytes).toBeLessThan(200e6);

  const library = join(folder, "library");
  mkdirSync(library);
  compileCheckpointRoom(library);
  const measured = await measureOpen(checkpoint, library);
  expect(measured.error).toBeUndefined();
  expect(measured.tensorCount).toBe(208_215);
  expect(measured.files).toBe(62);
  // All but the content of weight_shape: 69,120 times two I32.
  expect(measured.weightBytes).toBe(594_205_904_896 - 69_120 * 8);
  // Processor time, because other tests run beside this one.
  expect(measured.cpuMs).toBeLessThan(2000);
  expect(measured.peakRss).toBeLessThan(600e6);
  expect(measured.heldMs).toBeLessThan(50);
});
