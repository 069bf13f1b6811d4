// The look of the page, in light and in dark. Colours are told apart by everybody: blue and orange (Okabe and Ito) for
// what is kept and what is new, one hue from faint to strong for amounts.

export const STYLE = `
:root { color-scheme: light dark; --page: #fff; --ink: #1b1f24; --soft: #5b6570; --line: #d5dae0; --band: #f3f5f7;
  --kept: #0072b2; --new: #d9730d; --mark-1: .4; --mark-2: .7; --hatch: #9aa4af;
  --load-0: #f3f5f7; --load-1: #d3e3f1; --load-2: #a3c6e2; --load-3: #5f9dcb; --load-4: #2870aa; --load-5: #0b3c69; }
@media (prefers-color-scheme: dark) { :root { --page: #14171b; --ink: #e6e9ed; --soft: #9da7b3; --line: #363d46;
  --band: #1e2329; --kept: #56b4e9; --new: #f0913a; --mark-1: .45; --mark-2: .7; --hatch: #6b7683;
  --load-0: #1e2329; --load-1: #1d3a55; --load-2: #24598a; --load-3: #3d87c4; --load-4: #74b8ea; --load-5: #c9e6fb; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1240px; padding: 28px 24px 56px; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; }
h1 { font-size: 24px; line-height: 1.25; margin: 0 0 4px; }
h2 { font-size: 18px; margin: 36px 0 4px; }
p { margin: 4px 0 10px; max-width: 76ch; }
.soft { color: var(--soft); }
blockquote { margin: 8px 0 16px; padding: 2px 14px; border-left: 3px solid var(--line); white-space: pre-wrap; overflow-wrap: anywhere; }
.findings { display: grid; grid-template-columns: repeat(auto-fit, minmax(240px, 1fr)); gap: 12px; margin: 16px 0 0; padding: 0; list-style: none; }
.findings li { border: 1px solid var(--line); border-radius: 8px; padding: 10px 14px; }
.findings strong { display: block; font-size: 16px; line-height: 1.3; margin-bottom: 4px; }
.figure { display: flex; }
.scroll { overflow-x: auto; }
svg { display: block; flex: none; font: 12px system-ui, -apple-system, "Segoe UI", sans-serif; }
svg text { fill: var(--ink); }
svg .token { font: 12px ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; }
svg .read, .read-name { fill: var(--soft); color: var(--soft); }
svg .band { fill: var(--band); }
svg .gap { stroke: var(--page); stroke-width: 1.5; }
svg .kept, svg .new, svg .l1, svg .l2, svg .l3, svg .l4, svg .l5 { fill: none; }
svg .kept { stroke: var(--kept); } svg .new { stroke: var(--new); }
svg .s1 { opacity: var(--mark-1); } svg .s2 { opacity: var(--mark-2); }
svg .unknown { fill: url(#hatch); }
svg .l0 { fill: var(--load-0); } svg .l1 { stroke: var(--load-1); } svg .l2 { stroke: var(--load-2); }
svg .l3 { stroke: var(--load-3); } svg .l4 { stroke: var(--load-4); } svg .l5 { stroke: var(--load-5); }
svg .cursor { fill: none; stroke: var(--ink); stroke-width: 1.5; visibility: hidden; }
svg:focus { outline: 2px solid var(--kept); outline-offset: -2px; }
svg .grid { stroke: var(--line); } svg .chance { fill: none; stroke: var(--soft); stroke-width: 1.5; stroke-dasharray: 5 4; }
svg .spread { fill: var(--kept); opacity: .15; } svg .measured { fill: none; stroke: var(--kept); stroke-width: 2.5; }
svg .measured-name { fill: var(--kept); font-weight: 600; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 6px 0 10px; padding: 0; list-style: none; }
.legend i { display: inline-block; width: 22px; height: 10px; margin-right: 6px; border: 1px solid var(--line); vertical-align: baseline; }
.legend .kept { background: var(--kept); } .legend .new { background: var(--new); }
.legend .strength { background: linear-gradient(90deg, transparent, var(--ink)); }
.legend .unknown { background: repeating-linear-gradient(45deg, var(--hatch) 0 1px, transparent 1px 5px); }
.legend .l0 { background: var(--load-0); } .legend .l1 { background: var(--load-1); } .legend .l2 { background: var(--load-2); }
.legend .l3 { background: var(--load-3); } .legend .l4 { background: var(--load-4); } .legend .l5 { background: var(--load-5); }
#readout { position: sticky; bottom: 0; margin: 8px 0 0; padding: 8px 12px; min-height: 40px; max-width: none; background: var(--page);
  border: 1px solid var(--line); border-radius: 8px; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; } caption { text-align: left; color: var(--soft); }
th, td { padding: 2px 14px 2px 0; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } details { margin-top: 24px; } summary { cursor: pointer; font-weight: 600; }
`;
