/* Small plots on canvases: lines over the last two minutes, and batch sizes as a heat map. */

import { colour, paint } from "./dom.js";
import { KEPT } from "./feed.js";

/** The seconds that plots show: few at first, so that they are full of what there is. */
function span(samples) {
  return Math.min(KEPT, Math.max(30, samples.at(-1).time - samples[0].time));
}

/** Lines over time. `series`: {of: sample => number or null, colour, fill}; `least`: top of the scale. */
export function lines(canvas, samples, series, { least = 1, logarithmic = false } = {}) {
  if (!samples.length) return;
  paint(canvas, (context, width, height) => {
    const end = samples.at(-1).time, seconds = span(samples);
    const values = series.flatMap(({ of }) => samples.map(of)).filter(Number.isFinite);
    const scale = logarithmic ? (value) => Math.log10(Math.max(value, 1e-3)) : (value) => value;
    const bottom = logarithmic && values.length ? scale(Math.min(...values)) - 0.3 : 0;
    const top = logarithmic && values.length ? scale(Math.max(...values)) + 0.1 : Math.max(least, ...values) * 1.1;
    const x = (time) => width - 3 - ((end - time) / seconds) * (width - 3);
    const y = (value) => height - 1.5 - ((scale(value) - bottom) / (top - bottom)) * (height - 5);
    grid(context, width, height);
    for (const one of series) {
      context.strokeStyle = colour(one.colour);
      context.lineWidth = 1.75;
      context.lineJoin = "round";
      for (const piece of pieces(samples, one.of)) {
        const path = new Path2D();
        piece.forEach(([time, value], place) => path[place ? "lineTo" : "moveTo"](x(time), y(value)));
        if (piece.length === 1) path.arc(x(piece[0][0]), y(piece[0][1]), 1.5, 0, 7);
        context.stroke(path);
        if (!one.fill || piece.length === 1) continue;
        path.lineTo(x(piece.at(-1)[0]), height);
        path.lineTo(x(piece[0][0]), height);
        context.globalAlpha = 0.14;
        context.fillStyle = colour(one.colour);
        context.fill(path);
        context.globalAlpha = 1;
      }
    }
  });
}

/** Stretches without a gap: of no value, or of seconds that nobody watched. */
function pieces(samples, of) {
  const found = [];
  let last = null;
  for (const sample of samples) {
    const value = of(sample);
    if (!Number.isFinite(value)) last = null;
    else {
      if (last === null || sample.time - last > 5) found.push([]);
      found.at(-1).push([sample.time, value]);
      last = sample.time;
    }
  }
  return found;
}

function grid(context, width, height) {
  context.strokeStyle = colour("line");
  context.lineWidth = 1;
  context.beginPath();
  context.moveTo(0, height - 0.5);
  context.lineTo(width, height - 0.5);
  context.stroke();
}

const STEPS = 8; // 1, 2, 3–4, 5–8, … 65 and more

/** Which rows of each second's runs: a column each second, a cell each size, darker for more. */
export function batchSizes(canvas, samples, batches) {
  if (!samples.length) return;
  paint(canvas, (context, width, height) => {
    const end = samples.at(-1).time, seconds = span(samples);
    const wide = width / seconds, high = (height - 2) / STEPS;
    grid(context, width, height);
    context.fillStyle = colour("batch");
    for (const sample of samples) {
      const cells = new Array(STEPS).fill(0);
      let all = 0;
      for (const [rows, count] of Object.entries(batches(sample))) {
        const step = Math.min(STEPS - 1, Math.ceil(Math.log2(Number(rows))));
        cells[step] += count * Number(rows); // by rows: what most rows shared is what shows
        all += count * Number(rows);
      }
      const x = width - ((end - sample.time) / seconds) * (width - 3) - wide;
      cells.forEach((count, step) => {
        if (!count) return;
        context.globalAlpha = 0.3 + 0.7 * (count / all);
        context.fillRect(x, height - 1 - (step + 1) * high + 0.5, Math.max(wide - 0.5, 1.5), high - 1);
      });
    }
    context.globalAlpha = 1;
  });
}

/** All runs of a sample, by their rows. */
export function allBatches(sample) {
  const found = {};
  for (const model of sample.models) {
    for (const [rows, count] of Object.entries(model.batch_rows)) found[rows] = (found[rows] ?? 0) + count;
  }
  return found;
}

/** The mean rows of runs; null without any. */
export function meanRows(batches) {
  let runs = 0, rows = 0;
  for (const [size, count] of Object.entries(batches)) {
    runs += count;
    rows += count * Number(size);
  }
  return runs ? rows / runs : null;
}
