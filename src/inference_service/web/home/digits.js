/* A pad to draw a digit on, and the digit as the pixels of a model's row. */

import { colour, el } from "./dom.js";
import { square } from "./thumbnails.js";

const SIZE = 240; // units of the pad
const PEN = 22; // units
const INK = 16; // the darkest value of a pixel: how many of 4 x 4 points have ink
const FINE = 4; // points of a pixel in each direction
const HIGH = 0.98, WIDE = 0.85; // of the square, at most: digits of the data are higher than wide
const LEAST_PEN = 5; // points; that of the data is as bold

/**
 * The pad; `run` is called when something has been drawn.
 *
 * The pixels are made as those of the data that the model was trained on (Alpaydin and Kaynak,
 * Optical Recognition of Handwritten Digits, UCI): the digit is scaled to fill the square, as
 * 32 x 32 points with ink or without, and a pixel counts those of its 4 x 4.
 */
export function digitPad(model, run) {
  const name = model.inputs[0].name, side = Math.sqrt(model.inputs[0].shape.at(-1));
  let strokes = [], pixels = null, drawing = false, timer = 0;
  const canvas = el("canvas", { className: "pad", width: SIZE * 2, height: SIZE * 2, tabIndex: 0, role: "img",
    "aria-label": "Draw a digit here with the mouse or a finger. By keyboard, choose an example." });
  const seen = el("div", { className: "seen" });
  const clear = el("button", { type: "button", className: "second", onclick: wipe }, "Clear");

  function wipe() {
    strokes = [];
    pixels = null;
    seen.replaceChildren();
    show();
  }

  function show() {
    const context = canvas.getContext("2d");
    context.setTransform(2, 0, 0, 2, 0, 0);
    context.fillStyle = colour("paper");
    context.fillRect(0, 0, SIZE, SIZE);
    if (strokes.length) draw(context, strokes, PEN, colour("ink"));
    else if (pixels) {
      const step = SIZE / side;
      context.fillStyle = colour("ink");
      pixels.forEach((value, place) => {
        context.globalAlpha = value / INK;
        context.fillRect((place % side) * step, Math.floor(place / side) * step, step + 0.5, step + 0.5);
      });
      context.globalAlpha = 1;
    }
  }

  function point(event) {
    const { left, top, width } = canvas.getBoundingClientRect();
    return [((event.clientX - left) / width) * SIZE, ((event.clientY - top) / width) * SIZE];
  }

  function changed() {
    show();
    clearTimeout(timer);
    timer = setTimeout(() => {
      if (!strokes.length) return;
      pixels = pixelsOf(strokes, side);
      seen.replaceChildren(square(pixels), el("span", { className: "soft" }, "what the model sees"));
      run();
    }, 120);
  }

  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    drawing = true;
    strokes.push([point(event)]);
    changed();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!drawing) return;
    const events = event.getCoalescedEvents?.() ?? [];
    for (const one of events.length ? events : [event]) strokes.at(-1).push(point(one));
    changed();
  });
  for (const ending of ["pointerup", "pointercancel"]) canvas.addEventListener(ending, () => { drawing = false; });
  requestAnimationFrame(show);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
  return {
    box: el("div", { className: "draw" }, canvas, el("div", {}, clear, seen)),
    take(text) {
      const row = JSON.parse(text).instances[0];
      wipe();
      pixels = [...(Array.isArray(row) ? row : row[name])];
      show();
    },
    missing: "Draw a digit first, or click on an example.", touched: () => pixels !== null || strokes.length > 0,
    value: () => (pixels ? { body: JSON.stringify({ instances: [{ [name]: pixels }] }), type: "application/json" } : null),
  };
}

function draw(context, strokes, pen, style) {
  context.strokeStyle = style;
  context.lineWidth = pen;
  context.lineCap = "round";
  context.lineJoin = "round";
  for (const stroke of strokes) {
    context.beginPath();
    stroke.forEach(([x, y], place) => context[place ? "lineTo" : "moveTo"](x, y));
    if (stroke.length === 1) context.lineTo(stroke[0][0] + 0.1, stroke[0][1]);
    context.stroke();
  }
}

/** The strokes as a row of `side` x `side` numbers from 0 to 16. */
function pixelsOf(strokes, side) {
  const points = strokes.flat(), fine = side * FINE;
  const xs = points.map(([x]) => x), ys = points.map(([, y]) => y);
  const left = Math.min(...xs), top = Math.min(...ys);
  const wide = Math.max(...xs) - left, high = Math.max(...ys) - top;
  const scale = Math.min((HIGH * fine - LEAST_PEN) / Math.max(high, SIZE / 4), (WIDE * fine - LEAST_PEN) / Math.max(wide, 1));
  const canvas = new OffscreenCanvas(fine, fine);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const moved = strokes.map((stroke) => stroke.map(([x, y]) => [
    fine / 2 + (x - left - wide / 2) * scale, fine / 2 + (y - top - high / 2) * scale]));
  draw(context, moved, LEAST_PEN, "#000");
  const { data } = context.getImageData(0, 0, fine, fine);
  const pixels = new Array(side * side).fill(0);
  for (let y = 0; y < fine; y += 1) {
    for (let x = 0; x < fine; x += 1) {
      if (data[4 * (y * fine + x) + 3] > 127) pixels[Math.floor(y / FINE) * side + Math.floor(x / FINE)] += 1;
    }
  }
  return pixels;
}
