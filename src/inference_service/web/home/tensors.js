/* Tensors: a number, a table or a heat map. */

import { el, paint } from "./dom.js";

const MOST_CELLS = 64; // a larger tensor is a heat map

/** Each tensor of `outputs` (name: value) with its shape. */
export function tensors(outputs, model) {
  const box = el("dl", { className: "tensors" });
  for (const [name, value] of Object.entries(outputs)) {
    const shape = shapeOf(value), unit = model?.labels?.[name];
    box.append(el("dt", {}, el("code", {}, name), el("span", { className: "soft" }, shape.length ? ` ${shape.join(" × ")}` : "")), el("dd", {}, shown(value, shape, unit)));
  }
  return box;
}

function shapeOf(value) {
  const shape = [];
  for (let one = value; Array.isArray(one); [one] = one) shape.push(one.length);
  return shape;
}

function shown(value, shape, names) {
  if (!shape.length) return el("span", { className: "said" }, typeof value === "object" ? JSON.stringify(value) : text(value));
  const cells = value.flat(Infinity);
  if (!cells.every((one) => typeof one === "number")) return el("pre", { tabIndex: 0 }, JSON.stringify(value, null, 1));
  if (cells.length <= MOST_CELLS && shape.length <= 2) return table(shape.length === 1 ? [value] : value, names);
  return heatMap(cells, shape);
}

function text(value) {
  return typeof value === "number" ? String(Number(value.toPrecision(5))) : String(value);
}

function table(rows, names) {
  const head = names?.length === rows[0]?.length ? el("thead", {}, el("tr", {}, ...names.map((name) => el("th", { scope: "col" }, name)))) : "";
  return el("div", { className: "scroll", tabIndex: 0, role: "group", "aria-label": "table" }, el("table", {}, head, el("tbody", {}, ...rows.map((row) => el("tr", {}, ...row.map((one) => el("td", {}, text(one))))))));
}

function heatMap(cells, shape) {
  const columns = shape.length > 1 ? shape.at(-1) : Math.ceil(Math.sqrt(cells.length * 4));
  const rows = Math.ceil(cells.length / columns);
  let low = Infinity, high = -Infinity;
  for (const one of cells) {
    low = Math.min(low, one);
    high = Math.max(high, one);
  }
  const canvas = el("canvas", { className: "heat", role: "img", "aria-label": `${cells.length} numbers from ${text(low)} to ${text(high)} as a heat map` });
  canvas.style.aspectRatio = `${Math.max(columns, rows)} / ${Math.max(rows, columns / 16)}`;
  requestAnimationFrame(() => paint(canvas, (context, width, height) => {
    const wide = width / columns, tall = height / rows;
    cells.forEach((value, place) => {
      const share = high > low ? (value - low) / (high - low) : 0.5;
      context.fillStyle = `hsl(${230 - 190 * share} 75% ${25 + 45 * share}%)`;
      context.fillRect((place % columns) * wide, Math.floor(place / columns) * tall, wide + 0.5, tall + 0.5);
    });
  }));
  return el("div", {}, canvas, el("p", { className: "soft" }, `${text(low)} (dark) to ${text(high)} (light)`));
}
