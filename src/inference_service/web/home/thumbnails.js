/* What an example looks like before it is chosen. */

import { ask, colour, el, local } from "./dom.js";
import { waveform } from "./wave.js";

const WORDS = 60; // characters of a text that are shown

/** A picture, a waveform, the beginning of a text, the pixels of a digit; with its title. */
export async function thumbnail(file, kind, model) {
  const path = local(file.path);
  const title = el("span", { className: "title" }, file.title);
  if (kind === "image") return el("span", {}, el("img", { src: path, alt: "", loading: "lazy" }), title);
  if (kind === "audio") {
    const canvas = el("canvas", { className: "wave", "aria-hidden": "true" });
    const once = new IntersectionObserver(async ([seen]) => {
      if (!seen.isIntersecting) return;
      once.disconnect();
      await waveform(canvas, await (await ask(path)).blob());
    });
    once.observe(canvas);
    return el("span", {}, canvas, title);
  }
  const text = await (await ask(path)).text();
  if (kind === "text") return el("span", {}, el("q", {}, text.trim().slice(0, WORDS)), title);
  const pixels = squareOf(text, model);
  return pixels ? el("span", {}, square(pixels), title) : el("span", {}, title);
}

/** The row of a request that is a square of numbers. */
function squareOf(text, model) {
  try {
    const row = JSON.parse(text).instances[0];
    const values = Array.isArray(row) ? row : row[model.inputs[0].name];
    return Number.isInteger(Math.sqrt(values.length)) && values.length > 1 ? values : null;
  } catch {
    return null;
  }
}

/** Numbers as the pixels of a square. */
export function square(values) {
  const side = Math.sqrt(values.length), top = Math.max(...values, 1e-9);
  const canvas = el("canvas", { className: "pixels", width: side * 8, height: side * 8, "aria-hidden": "true" });
  const context = canvas.getContext("2d");
  requestAnimationFrame(() => {
    context.fillStyle = colour("paper");
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.fillStyle = colour("ink");
    values.forEach((value, place) => {
      context.globalAlpha = Math.max(0, value / top);
      context.fillRect((place % side) * 8, Math.floor(place / side) * 8, 8, 8);
    });
  });
  return canvas;
}
