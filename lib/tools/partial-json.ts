// JSON that is still being written, as a value: what a user interface shows of a call's arguments while they stream. Every
// character is read once and the value grows in place, so asking after each delta costs nothing extra.

type Container = unknown[] | Record<string, unknown>;

interface Frame {
  container: Container;
  /** The key that waits for its value; undefined in arrays and between members. */
  key: string | undefined;
}

/** What may stand next, outside strings and words. */
type Expectation =
  | "value"
  | "value-or-close"
  | "key"
  | "key-or-close"
  | "colon"
  | "comma-or-close"
  | "nothing";

const MAX_DEPTH = 256;
const ESCAPES: Readonly<Record<string, string>> = {
  '"': '"',
  "\\": "\\",
  "/": "/",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
};
const WORD = /^(?:true|false|null|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)$/;
/** Ends a number or a word; longer ones than this are none of JSON's words and no number that a call means. */
const LONGEST_WORD = 400;

/** Reads JSON text piece by piece; `value` is what it says so far. Made by `createPartialJson`. */
export interface PartialJson {
  /** Takes more of the text. */
  push(text: string): void;
  /**
   * The value so far, undefined before the first. Strings, arrays and objects appear as they grow; a number or a word
   * appears when it is complete, a key when its value begins. It is the growing value itself: copy what you keep.
   */
  readonly value: unknown;
  /** "complete" when the value is closed; "broken" behind text that is no JSON, and `value` stays as it was before. */
  readonly state: "open" | "complete" | "broken";
}

/** Starts reading. A complete text gives the value that `JSON.parse` gives. */
export function createPartialJson(): PartialJson {
  return new GrowingJson();
}

class GrowingJson implements PartialJson {
  value: unknown;
  private readonly stack: Frame[] = [];
  private expected: Expectation = "value";
  private isBroken = false;
  /** The string that is open: its text so far and whether it is a key. */
  private text: string | undefined;
  private isKey = false;
  /** An escape that is open, from its backslash on; "" outside. */
  private escape = "";
  /** A number or word that is open; "" outside. */
  private word = "";

  get state(): PartialJson["state"] {
    if (this.isBroken) return "broken";
    const isWhole = this.expected === "nothing" && this.text === undefined;
    return isWhole || (this.stack.length === 0 && WORD.test(this.word)) ? "complete" : "open";
  }

  push(text: string): void {
    let i = 0;
    while (i < text.length && !this.isBroken) {
      if (this.text !== undefined) i = this.pushString(text, i);
      else i = this.pushStructure(text, i);
    }
    if (this.text !== undefined && !this.isKey) this.place(this.text);
    // A word at the root has nothing behind it that could complete it.
    if (this.stack.length === 0 && WORD.test(this.word)) this.value = JSON.parse(this.word);
  }

  /** Reads inside a string from `start` on; returns where to go on. */
  private pushString(text: string, start: number): number {
    if (this.escape !== "") return this.pushEscape(text, start);
    for (let i = start; i < text.length; i++) {
      const unit = text.charCodeAt(i);
      if (unit === 0x22 || unit === 0x5c || unit < 0x20) {
        this.text += text.slice(start, i);
        if (unit === 0x22) this.closeString();
        else if (unit === 0x5c) this.escape = "\\";
        else this.isBroken = true;
        return i + 1;
      }
    }
    this.text += text.slice(start);
    return text.length;
  }

  private pushEscape(text: string, at: number): number {
    this.escape += text[at]!;
    if (this.escape[1] !== "u") {
      const character = ESCAPES[this.escape[1]!];
      if (character === undefined) this.isBroken = true;
      else this.text += character;
      this.escape = "";
    } else if (this.escape.length === 6) {
      const digits = this.escape.slice(2);
      if (/^[0-9a-fA-F]{4}$/.test(digits)) this.text += String.fromCharCode(Number.parseInt(digits, 16));
      else this.isBroken = true;
      this.escape = "";
    }
    return at + 1;
  }

  private closeString(): void {
    const text = this.text!;
    this.text = undefined;
    if (this.isKey) {
      this.stack.at(-1)!.key = text;
      this.expected = "colon";
    } else {
      this.place(text);
      this.closeValue();
    }
  }

  private pushStructure(text: string, at: number): number {
    const character = text[at]!;
    if (/[-+.0-9a-zA-Z]/.test(character)) {
      if (this.word === "" && !this.expected.startsWith("value")) this.isBroken = true;
      this.word += character;
      if (this.word.length > LONGEST_WORD) this.isBroken = true;
      return at + 1;
    }
    if (this.word !== "") this.closeWord();
    if (this.isBroken || " \t\n\r".includes(character)) return at + 1;
    const { expected } = this;
    const wantsValue = expected.startsWith("value");
    const frame = this.stack.at(-1);
    if (character === '"' && (wantsValue || expected.startsWith("key"))) {
      this.text = "";
      this.isKey = !wantsValue;
      if (wantsValue) this.open("");
    } else if (character === "{" && wantsValue) this.enter({}, "key-or-close");
    else if (character === "[" && wantsValue) this.enter([], "value-or-close");
    else if (character === ":" && expected === "colon") this.expected = "value";
    else if (character === "," && expected === "comma-or-close")
      this.expected = Array.isArray(frame!.container) ? "value" : "key";
    else if (
      (character === "}" || character === "]") &&
      expected.endsWith("close") &&
      Array.isArray(frame!.container) === (character === "]")
    ) {
      this.stack.pop();
      this.closeValue();
    } else this.isBroken = true;
    return at + 1;
  }

  private closeWord(): void {
    const { word } = this;
    this.word = "";
    if (!WORD.test(word)) {
      this.isBroken = true;
      return;
    }
    this.open(JSON.parse(word));
    this.closeValue();
  }

  private enter(container: Container, expected: Expectation): void {
    this.open(container);
    if (this.stack.length === MAX_DEPTH) this.isBroken = true;
    this.stack.push({ container, key: undefined });
    this.expected = expected;
  }

  /** Makes room for a value in its container. */
  private open(value: unknown): void {
    const frame = this.stack.at(-1);
    if (frame !== undefined && Array.isArray(frame.container)) frame.container.push(value);
    else this.place(value);
  }

  /** Sets the value that was opened last. */
  private place(value: unknown): void {
    const frame = this.stack.at(-1);
    if (frame === undefined) this.value = value;
    else if (Array.isArray(frame.container)) frame.container[frame.container.length - 1] = value;
    // A plain assignment would follow a key "__proto__".
    else
      Object.defineProperty(frame.container, frame.key!, {
        value,
        writable: true,
        enumerable: true,
        configurable: true,
      });
  }

  private closeValue(): void {
    const frame = this.stack.at(-1);
    if (frame !== undefined) frame.key = undefined;
    this.expected = frame === undefined ? "nothing" : "comma-or-close";
  }
}
