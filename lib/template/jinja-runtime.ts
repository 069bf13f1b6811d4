// Runs a template text that a stranger wrote, within limits: steps, nesting, and the size of every value. The interpreter
// is @huggingface/jinja, loaded when a template first needs it; all its work goes through `evaluate`, where the limits
// are kept.

import { K2Error } from "../errors";

/** What is used of the package. (Its own declarations do not resolve from CommonJS.) */
interface Jinja {
  tokenize(text: string, options: { lstrip_blocks: boolean; trim_blocks: boolean }): unknown;
  parse(tokens: unknown): unknown;
  Environment: new () => { set(name: string, value: unknown): unknown };
  Interpreter: new (environment: unknown) => JinjaInterpreter;
}
interface JinjaNode {
  type: string;
  /** Of a loop. */
  iterable?: JinjaNode;
  /** Of a loop's iterable that has a condition. */
  lhs?: JinjaNode;
}
interface JinjaInterpreter {
  run(program: unknown): { value: unknown };
  evaluate(statement: JinjaNode | undefined, environment: unknown): { value: unknown };
}

/**
 * Steps that every template may take, and those that each message and tool adds. A step is an evaluated node or an item
 * of a loop, and takes up to 50 microseconds; published templates take some hundred per message.
 */
const BASE_STEPS = 50_000;
const STEPS_PER_ITEM = 2_000;
const MOST_DEPTH = 400;
/** Of one string that the template makes, in UTF-16 units. Content is not in it: it travels as short placeholders. */
const MOST_LENGTH = 1 << 22;
const MOST_ITEMS = 1 << 17;

export interface JinjaProgram {
  /**
   * @param items How many messages and tools there are; the steps that are allowed grow with it.
   * @throws K2Error `unsupported-checkpoint` naming the template.
   */
  render(variables: Readonly<Record<string, unknown>>, items: number): string;
}

/** @throws K2Error `unsupported-checkpoint` for a text that is no template. */
export function compileJinja(text: string, file: string): JinjaProgram {
  const jinja = loadJinja();
  const program = guarded(text, file, () => {
    const tokens = jinja.tokenize(text, { lstrip_blocks: true, trim_blocks: true });
    return jinja.parse(tokens);
  });
  const Limited = limitedInterpreter(jinja);
  return {
    render(variables, items) {
      return guarded(text, file, () => {
        const environment = new jinja.Environment();
        for (const [name, value] of Object.entries({ ...globals(), ...variables })) {
          if (value !== undefined) environment.set(name, value);
        }
        const interpreter = new Limited(environment, BASE_STEPS + items * STEPS_PER_ITEM);
        return String(interpreter.run(program).value);
      });
    },
  };
}

function loadJinja(): Jinja {
  try {
    return require("@huggingface/jinja") as Jinja;
  } catch (cause) {
    const message = "Expected the package @huggingface/jinja for chat_template.jinja, got none";
    throw new K2Error("unavailable", message, { package: "@huggingface/jinja" }, { cause });
  }
}

/** What the template, not the interpreter, complains about. */
class TemplateComplaint extends Error {}
class LimitReached extends Error {}

function globals(): Record<string, unknown> {
  return {
    true: true,
    false: false,
    none: null,
    True: true,
    False: false,
    None: null,
    range: limitedRange,
    raise_exception: (message: unknown) => {
      throw new TemplateComplaint(String(message));
    },
  };
}

function limitedRange(first: number, second?: number, step = 1): number[] {
  const [start, stop] = second === undefined ? [0, first] : [first, second];
  if (![start, stop, step].every(Number.isFinite) || step === 0) throw new Error("range() of no numbers");
  const length = Math.max(0, Math.ceil((stop - start) / step));
  if (length > MOST_ITEMS) throw new LimitReached(`a range of ${length} items`);
  return Array.from({ length }, (_, index) => start + index * step);
}

function limitedInterpreter(jinja: Jinja) {
  return class extends jinja.Interpreter {
    private steps: number;
    private depth = 0;
    /** The nodes whose values are looped over. A loop costs by its items, even where its body is empty. */
    private readonly loopedOver = new WeakSet<object>();

    constructor(environment: unknown, steps: number) {
      super(environment);
      this.steps = steps;
    }

    override evaluate(statement: JinjaNode | undefined, environment: unknown) {
      this.spend(1);
      if (this.depth >= MOST_DEPTH) throw new LimitReached(`nesting beyond ${MOST_DEPTH}`);
      this.depth += 1;
      if (statement?.type === "For") {
        const { iterable } = statement;
        this.loopedOver.add(iterable?.type === "SelectExpression" ? iterable.lhs! : iterable!);
      }
      try {
        const result = super.evaluate(statement, environment);
        checkSize(result.value);
        if (statement !== undefined && this.loopedOver.has(statement)) this.spend(itemsOf(result.value));
        return result;
      } finally {
        // Also where `break` or `continue` leaves by an exception.
        this.depth -= 1;
      }
    }

    private spend(steps: number): void {
      this.steps -= steps;
      if (this.steps < 0) throw new LimitReached("too many steps");
    }
  };
}

function checkSize(value: unknown): void {
  if (typeof value === "string" && value.length > MOST_LENGTH) {
    throw new LimitReached(`a text of ${value.length} characters`);
  }
  if (Array.isArray(value) && value.length > MOST_ITEMS) {
    throw new LimitReached(`a list of ${value.length} items`);
  }
}

function itemsOf(value: unknown): number {
  if (Array.isArray(value) || typeof value === "string") return value.length;
  return value instanceof Map ? value.size : 0;
}

/** All failures of a template are one error; the line is known where the template itself complains. */
function guarded<T>(text: string, file: string, action: () => T): T {
  try {
    return action();
  } catch (cause) {
    if (cause instanceof K2Error) throw cause;
    const problem = cause instanceof Error ? cause.message : String(cause);
    const isLimit = cause instanceof LimitReached || cause instanceof RangeError;
    const expected = isLimit
      ? "a template that stays within its limits"
      : "a template that renders this prompt";
    const line = cause instanceof TemplateComplaint ? lineOf(text, problem) : undefined;
    const place = line === undefined ? file : `${file}, line ${line}`;
    throw new K2Error(
      "unsupported-checkpoint",
      `Expected ${expected} for ${place}, got: ${problem}`,
      { file, ...(line === undefined ? {} : { line }), expected, got: problem },
      { cause },
    );
  }
}

function lineOf(text: string, message: string): number | undefined {
  const at = message === "" ? -1 : text.indexOf(message);
  return at === -1 ? undefined : text.slice(0, at).split("\n").length;
}
