// Errors of the addon carry the same codes as K2Error; this is where they become one.

import { K2Error, type K2ErrorCode } from "../errors";

/** What a native call threw, as a K2Error. */
export function toK2Error(error: unknown): K2Error {
  if (error instanceof K2Error) return error;
  if (error instanceof Error && "code" in error && typeof error.code === "string") {
    return new K2Error(error.code as K2ErrorCode, error.message);
  }
  return new K2Error(
    "internal",
    `Expected an error of the addon, got ${String(error)}`,
    {},
    { cause: error },
  );
}

/** Awaits a native promise; its failure is thrown as a K2Error. */
export async function settle<T>(promise: Promise<T>): Promise<T> {
  try {
    return await promise;
  } catch (error) {
    throw toK2Error(error);
  }
}
