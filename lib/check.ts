// The checks that every public option and message passes before anything is computed, and the one sentence that a
// failed check says. Names are paths that the caller can find again: `messages[3].tool_calls[0].function.name`.

import { K2Error } from "./errors";

/** The error of a wrong argument: "Expected <expected> for <name>, got <value>". */
export function invalidArgument(expected: string, name: string, value: unknown): K2Error {
  const got = describeValue(value);
  return new K2Error("invalid-argument", `Expected ${expected} for ${name}, got ${got}`, {
    option: name,
    expected,
    got,
  });
}

/** A value as an error message shows it: short, and never more than its beginning. */
export function describeValue(value: unknown): string {
  if (typeof value === "string") {
    return value.length <= 60 ? JSON.stringify(value) : `${JSON.stringify(value.slice(0, 60))} and more`;
  }
  if (value === null || value === undefined) return String(value);
  if (typeof value === "object") {
    const type = typeOf(value);
    if (type !== "Array") return type === "Object" ? "an object" : `an object of type ${type}`;
    const { length } = value as unknown[];
    return length === 0 ? "an empty array" : `an array of ${length}`;
  }
  if (typeof value === "function") return "a function";
  return typeof value === "bigint" ? `${value}n` : String(value);
}

/** "Object", "Array", "Map" and so on: the same for objects of another realm, unlike a look at the prototype. */
export function typeOf(value: object): string {
  try {
    return Object.prototype.toString.call(value).slice("[object ".length, -1);
  } catch {
    return "Proxy"; // a revoked one, or one whose handler throws
  }
}

/**
 * The value as an object with string keys. Arrays, null and everything else are errors, and so are objects that hold
 * their data elsewhere than in keys: a Map, a forgotten promise or a bare signal must not look like empty options.
 */
export function requireObject(value: unknown, name: string): Record<string, unknown> {
  if (typeof value !== "object" || value === null || typeOf(value) !== "Object") {
    throw invalidArgument("an object", name, value);
  }
  return value as Record<string, unknown>;
}

/** The value as an array. A hole comes out as undefined, which the check of every entry then sees. */
export function requireArray(value: unknown, name: string): readonly unknown[] {
  if (typeof value !== "object" || value === null || typeOf(value) !== "Array") {
    throw invalidArgument("an array", name, value);
  }
  return Array.from(value as unknown[]);
}

export function requireString(value: unknown, name: string): string {
  if (typeof value !== "string") throw invalidArgument("a string", name, value);
  return value;
}

export function requireNonEmptyString(value: unknown, name: string): string {
  if (typeof value !== "string" || value === "") throw invalidArgument("a non-empty string", name, value);
  return value;
}

export function optionalBoolean(value: unknown, name: string): boolean | undefined {
  if (value !== undefined && typeof value !== "boolean") {
    throw invalidArgument("a boolean or undefined", name, value);
  }
  return value;
}

/** Refuses keys that nobody reads: a misspelt option must not look as if it worked. */
export function refuseUnknownKeys(
  object: Record<string, unknown>,
  known: ReadonlySet<string>,
  name: string,
): void {
  for (const key of Object.keys(object)) {
    if (known.has(key) || object[key] === undefined) continue;
    const expected = `one of the keys ${[...known].join(", ")}`;
    throw new K2Error("invalid-argument", `Expected ${expected} for ${name}, got ${describeValue(key)}`, {
      option: name === "" ? key : `${name}.${key}`,
      key,
      expected,
      got: key,
    });
  }
}

/** An AbortSignal by its shape: those of another realm and of polyfills work too. */
export function checkSignal(signal: unknown): AbortSignal | undefined {
  if (signal === undefined) return undefined;
  if (isSignal(signal)) return signal;
  throw invalidArgument("an AbortSignal", "signal", signal);
}

function isSignal(value: unknown): value is AbortSignal {
  if (typeof value !== "object" || value === null || typeOf(value) === "Proxy") return false;
  const { aborted, addEventListener, removeEventListener } = value as Partial<AbortSignal>;
  return (
    typeof aborted === "boolean" &&
    typeof addEventListener === "function" &&
    typeof removeEventListener === "function"
  );
}

/** The error of a call that its signal ended; the signal's reason is its cause. */
export function aborted(signal: AbortSignal): K2Error {
  return new K2Error("aborted", "Expected the call to finish, got an abort", {}, { cause: signal.reason });
}
