import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    testTimeout: 60_000,
    // Two workers: the suite runs on two cores, and every test file owns its models.
    maxWorkers: 2,
    pool: "forks",
  },
});
