// The tools of the demo: small, real, and without a network. The demo model knows tools by their exact declarations, so
// names, descriptions and parameters are those it was trained with (tools/demo-model/toolbox.py).

import type { Tool } from "../index";
import { evaluateArithmetic } from "./arithmetic";

type Arguments = Record<string, unknown>;
type Parameters = Readonly<Record<string, "string" | "number" | "integer">>;

interface DemoTool {
  readonly description: string;
  readonly parameters: Parameters;
  /** What it returns becomes JSON; what it throws becomes `{"error": message}`. */
  run(values: Arguments): unknown;
}

const CONTACTS: Record<string, object> = {
  Ana: { phone: "555-0123", city: "Lisbon" },
  Bob: { phone: "555-0199", city: "Oslo" },
  Marguerite: { phone: "+354 555 0142", city: "Reykjavik" },
};
const WEATHER: Record<string, object> = {
  Lisbon: { temp_c: 24, sky: "sunny" },
  "New York": { temp_c: 11, sky: "cloudy" },
  Oslo: { temp_c: -3, sky: "snowy" },
  Paris: { temp_c: 16, sky: "cloudy" },
  Reykjavik: { temp_c: 2, sky: "windy" },
  Rome: { temp_c: 27, sky: "clear" },
  Tokyo: { temp_c: 18, sky: "rainy" },
};
const CLOCKS: Record<string, object> = {
  Lisbon: { time: "14:05" },
  "New York": { time: "09:05" },
  Oslo: { time: "15:05" },
  Paris: { time: "15:05" },
  Reykjavik: { time: "14:05" },
  Rome: { time: "15:05" },
  Tokyo: { time: "23:05" },
};
const PRICES: Record<string, object> = {
  "coffee mug": { price: 8 },
  desk: { price: 189 },
  lamp: { price: 24.5 },
  "red lamp": { price: 30 },
  umbrella: { price: 12.95 },
};
/** How many of the second unit one of the first has. */
const UNITS: Record<string, Record<string, number>> = {
  km: { miles: 0.621371 },
  miles: { km: 1.609344 },
  kg: { pounds: 2.204623 },
  pounds: { kg: 0.453592 },
  meters: { feet: 3.28084 },
  feet: { meters: 0.3048 },
  liters: { gallons: 0.264172 },
  gallons: { liters: 3.785412 },
  inches: { cm: 2.54 },
  cm: { inches: 0.393701 },
  grams: { ounces: 0.035274 },
  ounces: { grams: 28.349523 },
  hours: { minutes: 60 },
  minutes: { seconds: 60 },
  days: { hours: 24 },
};
const WEEKDAYS = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const DAY_MS = 86_400_000;

const TOOLS: Readonly<Record<string, DemoTool>> = {
  calculator: {
    description: "Evaluate an expression",
    parameters: { expression: "string" },
    run: ({ expression }) => ({ result: rounded(evaluateArithmetic(expression as string)) }),
  },
  get_weather: {
    description: "Weather in a city",
    parameters: { city: "string" },
    run: ({ city }) => ({ city, ...lookUp(WEATHER, city, "unknown city") }),
  },
  get_time: {
    description: "Local time in a city",
    parameters: { city: "string" },
    run: ({ city }) => ({ city, ...lookUp(CLOCKS, city, "unknown city") }),
  },
  convert_units: {
    description: "Convert a value between units",
    parameters: { value: "number", from: "string", to: "string" },
    run: ({ value, from, to }) => ({
      value: rounded(convert(value as number, from as string, to as string)),
      unit: to,
    }),
  },
  add_days: {
    description: "Add days to a date",
    parameters: { date: "string", days: "integer" },
    run: ({ date, days }) => addDays(date as string, days as number),
  },
  get_price: {
    description: "Price of an item",
    parameters: { item: "string" },
    run: ({ item }) => ({ item, ...lookUp(PRICES, item, "no such item") }),
  },
  find_contact: {
    description: "Look up a person",
    parameters: { name: "string" },
    run: ({ name }) => ({ name, ...lookUp(CONTACTS, name, "not found") }),
  },
};

/** Some of the tools, in the order given. */
export function demoTools(...names: readonly string[]): Tool[] {
  return names.map((name) => {
    const { description, parameters, run } = TOOLS[name]!;
    const properties = Object.fromEntries(Object.entries(parameters).map(([key, type]) => [key, { type }]));
    return {
      type: "function",
      function: {
        name,
        description,
        parameters: { type: "object", required: Object.keys(parameters), properties },
      },
      validate: (values) => checkValues(parameters, values),
      execute: run,
    };
  });
}

/** All of them. */
export const allDemoTools: readonly Tool[] = demoTools(...Object.keys(TOOLS));

function checkValues(parameters: Parameters, values: unknown): Arguments {
  if (typeof values !== "object" || values === null || Array.isArray(values)) {
    throw new TypeError(`Expected an object for the arguments, got ${JSON.stringify(values)}`);
  }
  for (const [key, kind] of Object.entries(parameters)) {
    const value = (values as Arguments)[key];
    const isGood = kind === "integer" ? Number.isSafeInteger(value) : typeof value === kind;
    if (!isGood)
      throw new TypeError(`Expected a value of type ${kind} for ${key}, got ${JSON.stringify(value)}`);
  }
  const extra = Object.keys(values).find((key) => !Object.hasOwn(parameters, key));
  if (extra === undefined) return values as Arguments;
  throw new TypeError(`Expected only ${Object.keys(parameters).join(", ")}, got ${JSON.stringify(extra)}`);
}

function lookUp(table: Record<string, object>, key: unknown, error: string): object {
  if (typeof key === "string" && Object.hasOwn(table, key)) return table[key]!;
  throw new RangeError(error);
}

function convert(value: number, from: string, to: string): number {
  if (from === "celsius" && to === "fahrenheit") return (value * 9) / 5 + 32;
  if (from === "fahrenheit" && to === "celsius") return ((value - 32) * 5) / 9;
  const factors = Object.hasOwn(UNITS, from) ? UNITS[from]! : {};
  if (!Object.hasOwn(factors, to)) throw new RangeError("unknown unit");
  return value * factors[to]!;
}

function addDays(text: string, days: number): object {
  const start = new Date(/^\d{4}-\d{2}-\d{2}$/.test(text) ? `${text}T00:00:00Z` : Number.NaN);
  const end = new Date(start.getTime() + days * DAY_MS);
  // 2025-02-31 parses as a day of March, and years beyond 9999 have another form.
  const isGood = !Number.isNaN(end.getTime()) && isoDate(start) === text && end.getUTCFullYear() <= 9999;
  if (!isGood) throw new RangeError("invalid date");
  return { date: isoDate(end), weekday: WEEKDAYS[end.getUTCDay()] };
}

function isoDate(date: Date): string {
  return date.toISOString().slice(0, 10);
}

/** At most two decimals, as in the model's world. */
function rounded(value: number): number {
  return Number((value + 1e-9).toFixed(2));
}
