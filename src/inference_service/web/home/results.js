/* Answers as people look at them. Each view says whether it fits a result; the first that fits shows it. */

import { el } from "./dom.js";
import { tensors } from "./tensors.js";
import { waveform } from "./wave.js";

/** The elements for an answer of a task or of a predict path. */
export async function showAnswer(answer, asked, model) {
  if ("predictions" in answer) return answer.predictions.slice(0, 8).map((one) => prediction(one, model));
  if ("outputs" in answer) return [tensors(answer.outputs, model)];
  const shown = [];
  for (const result of answer.results ?? []) shown.push(await view(result, asked));
  return shown;
}

async function view(result, asked) {
  const file = asked.given.file;
  if (Array.isArray(result.lines) && asked.kind === "image") return readLines(result, file);
  if (Array.isArray(result.labels)) return labels(result, asked.kind === "image" ? file : null);
  if (Array.isArray(result.segments)) return segments(result, file);
  if (Array.isArray(result.items)) return cards(result);
  if (Array.isArray(result.entities)) return entities(result, asked.given.body);
  if (Array.isArray(result.embedding)) return tensors({ embedding: result.embedding });
  if (Array.isArray(result.results)) return ranking(result.results);
  if (typeof result.text === "string") return el("p", { className: "said" }, result.text || "(nothing)");
  return tensors(result);
}

/** Names with bars; the first in large letters. */
export function bars(rows) {
  const box = el("ol", { className: rows.every(({ label }) => String(label).length < 4) ? "bars narrow" : "bars" });
  const top = Math.max(...rows.map(({ score }) => Math.abs(score)), 1e-9);
  for (const { label, score } of rows) {
    const bar = el("span", { className: "bar" });
    bar.style.width = `${Math.round((100 * Math.abs(score)) / Math.max(top, 1))}%`;
    box.append(el("li", {}, el("span", { className: "label" }, String(label)), el("span", { className: "track" }, bar), el("span", { className: "score" }, percent(score))));
  }
  return box;
}

function percent(score) {
  if (score < 0 || score > 1) return score.toFixed(3);
  return score >= 0.0995 ? `${(100 * score).toFixed(0)} %` : score >= 0.0005 ? `${(100 * score).toFixed(1)} %` : "< 0.1 %";
}

function labels(result, file) {
  const found = result.labels.length ? bars(result.labels.map(({ name, label, score }) => ({ label: name ?? label, score }))) : el("p", { className: "soft" }, "No label has a score above the threshold.");
  if (!file) return found;
  return el("div", { className: "beside" }, picture(file), found);
}

function picture(file, alt = "the picture that was sent") {
  const image = el("img", { src: URL.createObjectURL(file), alt, className: "sent" });
  image.onload = () => URL.revokeObjectURL(image.src);
  image.onerror = () => image.remove();
  return image;
}

/** Lines of text over the picture that they were read from; pointing at one shows the other. */
async function readLines(result, file) {
  const list = el("ol", { className: "lines" });
  const bitmap = await createImageBitmap(file).catch(() => null);
  const canvas = bitmap && el("canvas", { className: "sent", width: bitmap.width, height: bitmap.height, role: "img", "aria-label": "the picture with a box around each line" });
  const items = result.lines.map((line, place) => {
    const item = el("li", { tabIndex: 0, title: `score ${line.score.toFixed(3)}` }, line.text || "(nothing)");
    for (const event of ["pointerenter", "focus"]) item.addEventListener(event, () => draw(place));
    for (const event of ["pointerleave", "blur"]) item.addEventListener(event, () => draw(-1));
    return item;
  });
  list.append(...items);
  function draw(chosen) {
    if (!canvas) return;
    const context = canvas.getContext("2d");
    context.drawImage(bitmap, 0, 0);
    context.lineWidth = Math.max(1, bitmap.width / 320);
    result.lines.forEach(({ box }, place) => {
      context.beginPath();
      box.forEach(([x, y]) => context.lineTo(x, y));
      context.closePath();
      context.globalAlpha = place === chosen ? 0.35 : 0.12;
      context.fillStyle = "#3358e0";
      context.fill();
      context.globalAlpha = 1;
      context.strokeStyle = "#3358e0";
      context.stroke();
    });
  }
  if (canvas) {
    draw(-1);
    canvas.addEventListener("pointermove", ({ offsetX, offsetY }) => {
      const scale = bitmap.width / canvas.clientWidth;
      const chosen = result.lines.findIndex(({ box }) => inside(box, offsetX * scale, offsetY * scale));
      items.forEach((item, place) => item.classList.toggle("chosen", place === chosen));
      draw(chosen);
    });
  }
  if (!result.lines.length) list.append(el("li", { className: "soft" }, "No text was found."));
  return el("div", { className: "beside wide" }, canvas ?? "", list);
}

function inside(box, x, y) {
  const xs = box.map(([one]) => one), ys = box.map(([, one]) => one);
  return x >= Math.min(...xs) && x <= Math.max(...xs) && y >= Math.min(...ys) && y <= Math.max(...ys);
}

/** Where speech is, on the waveform, and what is said there. A click plays it from there. */
async function segments(result, file) {
  const canvas = el("canvas", { className: "wave large", role: "img", "aria-label": `waveform with ${result.segments.length} segments of speech` });
  const player = el("audio", { src: URL.createObjectURL(file), controls: true, "aria-label": "the recording" });
  const box = el("div", { className: "sound" });
  if (typeof result.text === "string") box.append(el("p", { className: "said" }, result.text || "(nothing is said)"));
  box.append(canvas, player);
  const list = el("ol", { className: "segments" });
  for (const { start, end, text } of result.segments) {
    const play = el("button", { type: "button", className: "link" }, `${start.toFixed(1)}–${end.toFixed(1)} s`);
    play.addEventListener("click", () => {
      player.currentTime = start;
      player.play();
    });
    list.append(el("li", {}, play, text ? ` ${text}` : ""));
  }
  if (!result.segments.length) list.append(el("li", { className: "soft" }, "No speech was found."));
  const spoken = result.speech_seconds ?? result.segments.reduce((sum, { start, end }) => sum + end - start, 0);
  box.append(list, el("p", { className: "soft" }, `${spoken.toFixed(1)} s of speech in ${result.seconds?.toFixed(1) ?? "?"} s`));
  requestAnimationFrame(() => waveform(canvas, file, result.segments));
  return box;
}

/** Recommended items, each with what speaks for it. */
function cards(result) {
  const box = el("ol", { className: "cards" });
  for (const item of result.items) {
    const reasons = (item.reasons ?? []).map(({ item: name, score }) => ({ label: name, score }));
    box.append(el("li", {}, el("p", { className: "item" }, el("strong", {}, item.item), el("span", { className: "score" }, item.score.toFixed(2))),
      item.title ? el("p", { className: "soft" }, item.title) : "",
      reasons.length ? el("p", { className: "because" }, "because of ", ...reasons.flatMap(({ label }, place) => [place ? ", " : "", el("em", {}, label)])) : ""));
  }
  const unknown = result.unknown?.length ? el("p", { className: "warning" }, `Not known to the model: ${result.unknown.join(", ")}`) : "";
  return el("div", {}, unknown, result.cold_start ? el("p", { className: "soft" }, "Nothing is known of this user: these are the most popular items.") : "", box);
}

function entities(result, text) {
  const box = el("p", { className: "said" });
  let at = 0;
  for (const { start, end, label } of result.entities) {
    box.append(text.slice(at, start), el("mark", { title: label }, text.slice(start, end), el("small", {}, ` ${label}`)));
    at = end;
  }
  box.append(text.slice(at));
  return box;
}

function ranking(results) {
  return bars(results.map(({ text, index, score }) => ({ label: text ?? `text ${index}`, score })));
}

/** One row of a predict answer: labelled scores as bars, a number in large letters, else tables. */
function prediction(row, model) {
  if (typeof row !== "object" || row === null) return single(model.outputs[0], row);
  const outputs = Array.isArray(row) ? { [model.outputs[0].name]: row } : row;
  const scored = Object.entries(model.labels ?? {}).find(([name, names]) => outputs[name]?.length === names.length);
  if (!scored) return tensors(outputs, model);
  const [name, names] = scored;
  const rows = names.map((label, place) => ({ label, score: outputs[name][place] }));
  const best = rows.reduce((one, other) => (other.score > one.score ? other : one));
  const shown = rows.length > 12 ? rows.toSorted((one, other) => other.score - one.score).slice(0, 8) : rows;
  const sent = el("div", { className: "verdict" }, el("p", { className: "big" }, best.label), el("p", { className: "soft" }, percent(best.score)));
  return el("div", { className: "beside small" }, sent, bars(shown));
}

/** One number or word; a share of one as a gauge, too. */
function single({ name, datatype }, value) {
  if (typeof value !== "number") return el("p", { className: "said" }, String(value));
  const isShare = value >= 0 && value <= 1 && datatype.startsWith("FP");
  const said = isShare && /prob|share|confidence/.test(name) ? percent(value) : String(Number(value.toPrecision(4)));
  const box = el("div", { className: "single" }, el("p", { className: "big" }, said), el("p", { className: "soft" }, name.replaceAll("_", " ")));
  if (isShare) box.append(bars([{ label: "", score: value }]));
  return box;
}
