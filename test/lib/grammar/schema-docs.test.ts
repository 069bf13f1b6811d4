// docs/json-schema.md names exactly the keywords and formats that the code knows.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { IGNORED_KEYWORDS, SUPPORTED_FORMATS, SUPPORTED_KEYWORDS } from "../../../lib/grammar/constraints";

const page = readFileSync(join(__dirname, "../../../docs/json-schema.md"), "utf8");

function section(title: string): string {
  const [, text] = new RegExp(`\n## ${title}\n(.*?)(?=\n## |$)`, "s").exec(page)!;
  return text!;
}

const namesIn = (text: string) => [...text.matchAll(/`([^`]+)`/g)].map((match) => match[1]!).sort();

/** Of the rows of a table: the cells of one column. */
function column(text: string, index: number): string {
  const rows = text.split("\n").filter((line) => line.startsWith("|"));
  return rows
    .slice(2)
    .map((row) => row.split("|")[index + 1]!)
    .join(" ");
}

describe("docs/json-schema.md", () => {
  it("has the keywords that are enforced", () => {
    expect(namesIn(column(section("Keywords"), 0))).toEqual([...SUPPORTED_KEYWORDS].sort());
  });

  it("has the keywords without effect", () => {
    const [, text] = section("Keywords").split("Without effect");
    expect(namesIn(text!)).toEqual([...IGNORED_KEYWORDS].sort());
  });

  it("has the formats", () => {
    expect(namesIn(column(section("Formats"), 1))).toEqual([...SUPPORTED_FORMATS].sort());
  });
});
