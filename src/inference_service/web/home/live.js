/* The four tiles at the top: requests, latency, batches, slots and queue. */

import { duration, el, short } from "./dom.js";
import { allBatches, batchSizes, lines, meanRows } from "./plots.js";

/** `first` and `second` are the colours of its lines: of the number, and of the note where it has one. */
function tile(name, hint, first, second) {
  const number = el("strong", {}, "–"), note = el("span", { className: second ? "note keyed" : "note" });
  const canvas = el("canvas", { role: "img", "aria-label": hint });
  const box = el("figure", { className: "tile" }, el("figcaption", { title: hint }, name), el("p", {}, number, note), canvas);
  box.style.setProperty("--first", `var(--${first})`);
  return { box, canvas, tell: (text, more = "") => { number.textContent = text; note.textContent = more; } };
}

/** The tiles; returns what is to be called with each sample. */
export function liveTiles(place) {
  const rate = tile("Requests per second", "Answered requests per second over the last two minutes", "rate");
  const latency = tile("Latency", "Median and 99th percentile of the latency over the last two minutes", "fast", "slow");
  const batch = tile("Rows in a run", "How many rows shared a run, over the last two minutes; higher is larger", "batch");
  const slots = tile("Busy slots, queue", "Slots that compute and rows that wait, over the last two minutes", "slots", "slow");
  place.replaceChildren(rate.box, latency.box, batch.box, slots.box);

  function show(sample, all) {
    const errors = sample.errors ? `${short(sample.errors)} errors/s` : sample.in_flight ? `${sample.in_flight} in flight` : "";
    rate.tell(short(sample.requests), errors);
    lines(rate.canvas, all, [
      { of: (one) => one.requests, colour: "rate", fill: true },
      { of: (one) => one.errors || null, colour: "bad" },
    ]);
    const last = all.findLast((one) => one.p50_ms !== null);
    const fresh = last && sample.time - last.time < 10;
    latency.tell(fresh ? duration(last.p50_ms) : "–", fresh ? `p99 ${duration(last.p99_ms)}` : "");
    lines(latency.canvas, all, [
      { of: (one) => one.p99_ms, colour: "slow" },
      { of: (one) => one.p50_ms, colour: "fast", fill: true },
    ], { logarithmic: true });
    const recent = all.findLast((one) => meanRows(allBatches(one)) !== null);
    const mean = recent && sample.time - recent.time < 10 ? meanRows(allBatches(recent)) : null;
    const sizes = recent ? Object.keys(allBatches(recent)).map(Number) : [];
    batch.tell(mean === null ? "–" : short(mean), mean === null ? "" : `largest ${Math.max(...sizes)}`);
    batchSizes(batch.canvas, all, allBatches);
    const waiting = sample.queue_rows ? `${short(sample.queue_rows)} rows wait` : "nothing waits";
    slots.tell(`${Number(sample.busy.toFixed(1))} of ${sample.slots}`, waiting);
    lines(slots.canvas, all, [
      { of: (one) => one.busy / one.slots, colour: "slots", fill: true },
      { of: (one) => (one.queue_rows ? one.queue_rows / Math.max(...all.map((each) => each.queue_rows)) : null), colour: "slow" },
    ]);
  }

  let latest = null;
  window.addEventListener("resize", () => latest && show(...latest));
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => latest && show(...latest));
  return (sample, all) => { latest = [sample, all]; show(sample, all); };
}
