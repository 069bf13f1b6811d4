// The page of a trace: well-formed, complete, of a bearable size, and safe whatever a token or a prompt says.

import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import { escapeHtml, escapeJson, tokenLabel } from "../../../../lib/cli/trace/escape";
import { loadClass } from "../../../../lib/cli/trace/load-figure";
import { tracePage } from "../../../../lib/cli/trace/page";
import { expertsOf, type Recording, weightsOf } from "../../../../lib/cli/trace/recording";
import { computeStatistics } from "../../../../lib/cli/trace/statistics";
import { makeRecording } from "./recordings";

const HOSTILE = [
  "<script>alert(1)</script>",
  "</script><img src=x onerror=alert(1)>",
  "</title></svg><b>",
  "\"'&<>`",
  "<!--",
  "]]>",
  "\u202Eevil\u2066",
  "\u0000\u001b[31m",
  "\ud800",
  "\u2028",
];
/** Tags that have no end. */
const VOID = new Set(["meta", "!doctype"]);

const pageOf = (recording: Recording) => tracePage(recording, computeStatistics(recording.routing));

/** Names of all elements; throws where they are not nested as they must be. */
function elementsOf(page: string): string[] {
  // What scripts and styles hold is no markup.
  const markup = page.replace(/(<(script|style)\b[^>]*>)[\s\S]*?<\/\2>/g, "$1</$2>");
  const open: string[] = [];
  const names: string[] = [];
  for (const [tag, slash, name, rest] of markup.matchAll(/<(\/?)([!\w-]+)([^<>]*)>/g)) {
    if (slash === "/") {
      expect(open.pop(), tag).toBe(name);
      continue;
    }
    names.push(name!);
    const attributes = rest!.replace(/\/$/, "");
    expect(attributes.replace(/\s+[\w:-]+(="[^"<>]*")?/g, "").trim(), tag).toBe("");
    if (!rest!.endsWith("/") && !VOID.has(name!.toLowerCase())) open.push(name!);
  }
  expect(open).toEqual([]);
  // A bracket outside of a tag would be markup that this reader did not see.
  expect(markup.replace(/<\/?[!\w-]+[^<>]*>/g, "")).not.toMatch(/[<>]/);
  return names;
}

/** What the script of the page reads. */
const dataOf = (page: string) =>
  JSON.parse(/<script type="application\/json" id="data">([\s\S]*?)<\/script>/.exec(page)![1]!);

/** Where the strokes of a path are: "x y" of their beginnings. */
function strokesOf(path: string): string[] {
  let [x, y] = [0, 0];
  return [...path.matchAll(/m(-?[\d.]+)[ ]?(-?[\d.]+)h1/g)].map(([, dx, dy]) => {
    x += Number(dx);
    y += Number(dy);
    const place = `${x} ${Math.round(y * 100) / 100}`;
    x += 1;
    return place;
  });
}

describe("page", () => {
  it.each([
    { tokens: 2, layers: 1, experts: 2, chosen: 1 },
    { tokens: 30, layers: 3, experts: 8, chosen: 2, unknown: [29] },
    { tokens: 120, layers: 5, experts: 64, chosen: 6, unknown: [0, 5, 6] },
    { tokens: 3, layers: 2, experts: 4, chosen: 4 },
  ])("is well-formed and holds every figure with title and description: %j", (shape) => {
    const page = pageOf(makeRecording(shape));
    const names = elementsOf(page);
    for (const figure of shape.tokens > 100 ? ["path", "load", "cache", "stay"] : ["path", "load", "cache"]) {
      expect(page).toContain(
        `<svg id="${figure}" role="img" aria-labelledby="${figure}-title ${figure}-description"`,
      );
      expect(page).toMatch(
        new RegExp(
          `<title id="${figure}-title">[^<]+</title>\n<desc id="${figure}-description">[^<]+</desc>`,
        ),
      );
    }
    expect(page.replace(/<script>[\s\S]*?<\/script>/, "")).not.toMatch(/NaN|undefined|Infinity/);
    expect(names.filter((name) => name === "tr")).toHaveLength(1 + shape.layers);
    expect(names).not.toContain("img");
    // Nothing is fetched: the only address is the name of SVG.
    expect(new Set(page.match(/https?:[^"' )]*/g))).toEqual(new Set(["http://www.w3.org/2000/svg"]));
  });

  it("draws one mark for each choice, at the expert's place, in the colour of what stays", () => {
    const recording = makeRecording({ tokens: 40, layers: 3, experts: 8, chosen: 2, unknown: [7] });
    const { routing } = recording;
    const page = pageOf(recording);
    const bands = [
      ...page.matchAll(/<g transform="translate\(0 \d+\) scale\(14 1\)" stroke-width="8">(.*?)<\/g>/g),
    ];
    expect(bands).toHaveLength(3);
    for (const [layer, [, band]] of bands.entries()) {
      const drawn = [...band!.matchAll(/<path class="(kept|new) s([123])" d="([^"]*)"\/>/g)].flatMap(
        ([, kind, strength, path]) => strokesOf(path!).map((place) => `${place} ${kind} ${strength}`),
      );
      const expected: string[] = [];
      for (let token = 0; token < 40; token += 1) {
        if (token === 7) continue;
        const before = token === 0 || token === 8 ? [] : [...expertsOf(routing, token - 1, layer)];
        const [one, two] = weightsOf(routing, token, layer);
        for (const [index, expert] of expertsOf(routing, token, layer).entries()) {
          const share = (2 * (index === 0 ? one! : two!)) / (one! + two!);
          const strength = share >= 1.25 ? 3 : share >= 0.75 ? 2 : 1;
          // Eight rows in 72 pixels, marks of 8: the first at 4, the last at 68.
          const y = Math.round((4 + (64 / 7) * expert) * 100) / 100;
          expected.push(`${token} ${y} ${before.includes(expert) ? "kept" : "new"} ${strength}`);
        }
      }
      const rounded = (list: string[]) =>
        list
          .map((one) => one.replace(/ (\d+\.?\d*) /, (_, y) => ` ${Math.round(Number(y) * 10) / 10} `))
          .sort();
      expect(rounded(drawn)).toEqual(rounded(expected));
    }
    expect(page.match(/class="unknown"/g)).toHaveLength(2); // in the figure and in the legend
  });

  it("draws the load of each expert, and what stays, in the classes of the legends", () => {
    const recording = makeRecording({ tokens: 120, layers: 2, experts: 16, chosen: 4, unknown: [50] });
    const { routing } = recording;
    const { layers } = computeStatistics(routing);
    const page = pageOf(recording);
    const figure = (id: string) => page.split(`<svg id="${id}"`)[1]!.split("</svg>")[0]!;
    const rowsOf = (id: string) =>
      [...figure(id).matchAll(/<g transform[^>]*>(.*?)<\/g>/g)].map(([, row]) =>
        [...row!.matchAll(/class="l(\d)" d="([^"]*)"/g)]
          .flatMap(([, kind, path]) => strokesOf(path!).map((place) => `${place} ${kind}`))
          .sort(),
      );
    const even = (119 * 4) / 16;
    const load = layers.map(({ counts }) =>
      [...counts].map((count, expert) => `${expert} 0 ${loadClass(count, even)}`).sort(),
    );
    expect(rowsOf("load")).toEqual(load);
    const stay = layers.map((_, layer) =>
      Array.from({ length: 120 }, (_, token) => {
        if (token === 0 || token === 50 || token === 51) return "";
        const before = expertsOf(routing, token - 1, layer);
        const kept = [...expertsOf(routing, token, layer)].filter((expert) => before.includes(expert)).length;
        return kept === 0 ? "" : `${token} 0 ${[2, 3, 4, 5][kept - 1]}`;
      })
        .filter((cell) => cell !== "")
        .sort(),
    );
    expect(rowsOf("stay")).toEqual(stay);
  });

  it("gives its script the numbers", () => {
    const recording = makeRecording({ tokens: 10, layers: 2, experts: 300, chosen: 3, unknown: [9] });
    const { routing } = recording;
    const data = dataOf(pageOf(recording));
    const bytes = Uint8Array.from(Buffer.from(data.experts, "base64"));
    expect(new Uint16Array(bytes.buffer)).toEqual(routing.experts);
    const shares = Buffer.from(data.shares, "base64");
    const weights = weightsOf(routing, 4, 1);
    const sum = weights[0]! + weights[1]! + weights[2]!;
    expect([...shares.subarray(27, 30)]).toEqual(
      [...weights].map((weight) => Math.round((255 * weight) / sum)),
    );
    expect(data).toMatchObject({
      firstPosition: 40,
      tokens: 9,
      layers: [1, 2],
      isKnown: [...Array(9).fill(1), 0],
    });
    expect(data.texts).toEqual(recording.texts);
  });

  it("lets nothing that a token or a prompt says become markup or script", () => {
    const recording = {
      ...makeRecording({ tokens: 33, layers: 2, experts: 4, chosen: 2, texts: HOSTILE }),
      prompt: HOSTILE.join("\n"),
      model: "/x/<script>alert(2)</script>",
    };
    const page = pageOf(recording);
    const plain = pageOf(makeRecording({ tokens: 33, layers: 2, experts: 4, chosen: 2 }));
    expect(elementsOf(page)).toEqual(elementsOf(plain));
    expect(page.match(/<script/g)).toHaveLength(2);
    expect(page.replaceAll("\n", "")).not.toMatch(/[\p{Cc}\p{Bidi_Control}\p{Cs}]/u);
    expect(dataOf(page).texts[0]).toBe("<script>alert(1)</script>");
    expect(page).toContain("&lt;script&gt;alert(1)&lt;/script&gt;");
    expect(page).toContain(
      "<title>How &lt;script&gt; chose its experts</title>".replace("&lt;script&gt;", "script&gt;"),
    );
  });

  it("has a policy that allows its own script alone", () => {
    const page = pageOf(makeRecording({ tokens: 5, layers: 1, experts: 4, chosen: 2 }));
    const script = /<script>([\s\S]*?)<\/script>/.exec(page)![1]!;
    const hash = createHash("sha256").update(script).digest("base64");
    expect(page).toContain(
      `content="default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-${hash}'"`,
    );
    expect(page).not.toMatch(/\son\w+=/);
    expect(() => new Function(script)).not.toThrow();
  });

  it("of Kimi K2's size and 500 tokens is a few megabytes, made in seconds", () => {
    const start = performance.now();
    const page = pageOf(makeRecording({ tokens: 500, layers: 60, experts: 384, chosen: 8, unknown: [499] }));
    expect(page.length).toBeLessThan(4e6);
    expect(page.length).toBeGreaterThan(1e6);
    expect(performance.now() - start).toBeLessThan(20_000);
  });

  it("says so where it does not draw every token", () => {
    const page = pageOf(makeRecording({ tokens: 1200, layers: 1, experts: 8, chosen: 2 }));
    expect(page).toContain("The first 1,000 of 1,200 tokens are drawn; all others are counted.");
    expect(page.match(/<text class="token /g)).toHaveLength(1000);
    expect(dataOf(page)).toMatchObject({ tokens: 1200, texts: { length: 1000 } });
  });
});

describe("text", () => {
  it("is escaped for HTML and for JSON in a script", () => {
    expect(escapeHtml(`<a b="c">&'</a>`)).toBe("&lt;a b=&quot;c&quot;&gt;&amp;&#39;&lt;/a&gt;");
    expect(escapeHtml("\u0000\u001b\u009f\u202e\ud800😀")).toBe("␀␛\ufffd\ufffd\ufffd😀");
    for (const text of HOSTILE) {
      expect(escapeJson({ text })).not.toMatch(/[<>&\u2028\u2029]/);
      expect(escapeHtml(text)).not.toMatch(/[<>"']/);
    }
    expect(JSON.parse(escapeJson({ text: "</script> & \u2028" }))).toEqual({ text: "</script> & \u2028" });
  });

  it("of a token is one short line", () => {
    expect(tokenLabel(" a\n\tb", 10)).toBe("·a↵⇥b");
    expect(tokenLabel("abcdef", 6)).toBe("abcdef");
    expect(tokenLabel("abcdefg", 6)).toBe("abcde…");
    expect(tokenLabel("😀😀😀", 2)).toBe("😀…");
  });
});

it("classes of load begin where the legend says", () => {
  expect([0, 1, 4, 5, 9, 10, 19, 20, 39, 40, 400].map((count) => loadClass(count, 10))).toEqual([
    0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5,
  ]);
});
