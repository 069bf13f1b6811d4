// The one script of the page: says what is under the pointer, or under the cursor that the arrow keys move. The page shows
// everything without it. It is text here, because it runs in a browser; it only ever writes text, never markup.

export const SCRIPT = `
const data = JSON.parse(document.getElementById("data").textContent);
const bytes = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
const experts = new Uint16Array(bytes(data.experts).buffer);
const shares = bytes(data.shares);
const readout = document.getElementById("readout");
const { layers, expertsPerToken: K } = data;

const pathText = (token, layer) => {
  const start = (token * layers.length + layer) * K;
  const chosen = Array.from({ length: K }, (_, i) => [experts[start + i], shares[start + i]]);
  const said = chosen.sort((a, b) => b[1] - a[1]).map(([expert, share]) => expert + " (" + Math.round(share / 2.55) + " %)");
  return "Token " + JSON.stringify(data.texts[token]) + " at position " + (data.firstPosition + token) + ", layer " + layers[layer] +
    ": " + (data.isKnown[token] ? "experts " + said.join(", ") : "nothing was computed");
};
const loadText = (expert, layer) =>
  "Layer " + layers[layer] + ", expert " + expert + ": works on " + data.counts[layer][expert] + " of " + data.tokens + " tokens (" +
  (100 * data.counts[layer][expert] / data.tokens).toFixed(1) + " %)";

const follow = (id, grid, say) => {
  const figure = document.getElementById(id);
  const cursor = figure.querySelector(".cursor");
  let at = [0, 0];
  const clamp = (value, count) => Math.max(0, Math.min(count - 1, value));
  const show = (column, row) => {
    at = [clamp(column, grid.columns), clamp(row, layers.length)];
    cursor.setAttribute("x", grid.left + at[0] * grid.width);
    cursor.setAttribute("y", grid.top + at[1] * grid.height);
    cursor.style.visibility = "visible";
    readout.textContent = say(at[0], at[1]);
  };
  figure.setAttribute("tabindex", "0");
  figure.addEventListener("pointermove", (event) => {
    const box = figure.getBoundingClientRect();
    show(Math.floor((event.clientX - box.left - grid.left) / grid.width), Math.floor((event.clientY - box.top - grid.top) / grid.height));
  });
  figure.addEventListener("focus", () => show(at[0], at[1]));
  figure.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    show(at[0] + step[0], at[1] + step[1]);
    const scroll = figure.parentElement;
    const x = grid.left + at[0] * grid.width;
    if (x < scroll.scrollLeft || x + grid.width > scroll.scrollLeft + scroll.clientWidth) scroll.scrollLeft = x - scroll.clientWidth / 2;
  });
  return figure;
};
const path = document.getElementById("path");
follow("path", data.grids.path, pathText);
follow("load", data.grids.load, loadText);
if (data.grids.stay !== undefined) {
  const grid = data.grids.stay;
  const stay = follow("stay", grid, pathText);
  stay.addEventListener("click", (event) => {
    const token = (event.clientX - stay.getBoundingClientRect().left - grid.left) / grid.width;
    path.parentElement.scrollLeft = token * data.grids.path.width - path.parentElement.clientWidth / 2;
    path.scrollIntoView({ block: "start" });
  });
}
`;
