/* The list of models and the panel of the one that is chosen: what it is, and its playground. */

import { duration, el, paint, colour, short } from "./dom.js";
import { meanRows } from "./plots.js";
import { playground } from "./playground.js";

const VERDICTS = {
  merge: ["shares", "Requests share runs"],
  split: ["alone", "Every row runs alone"],
  whole: ["alone", "Every request runs alone"],
};

const DOES = {
  classify: "classifies", read: "reads text", detect: "finds speech", transcribe: "writes down speech",
  recommend: "recommends", embed: "embeds", rerank: "ranks texts",
};

/** Shows models and tells each what the feed says of it. */
export class ModelList {
  constructor(nav, panel) {
    this.nav = nav;
    this.panel = panel;
    this.models = [];
    this.panels = new Map();
    window.addEventListener("hashchange", () => this.choose());
  }

  /** `versions` are all versions with their states, `tasks` the ready models with their tasks. */
  show(versions, tasks) {
    const tasksOf = new Map(tasks.map((one) => [`${one.name}/${one.version}`, one.tasks]));
    const latest = new Map();
    for (const version of versions) {
      const one = latest.get(version.name);
      const model = { ...version, key: `${version.name}/${version.version}`, tasks: tasksOf.get(`${version.name}/${version.version}`) ?? [] };
      const better = !one || (model.state === "ready" && (one.state !== "ready" || Number(model.version) > Number(one.version)));
      if (better) latest.set(version.name, { ...model, others: [...(one?.others ?? []), ...(one ? [one] : [])] });
      else one.others.push(model);
    }
    this.models = [...latest.values()].filter((one) => one.state !== "unloaded");
    // Models that can be talked to come first: files and texts before tensors.
    this.models.sort((one, other) => (other.tasks.length > 0) - (one.tasks.length > 0) || one.name.localeCompare(other.name));
    for (const model of this.models) {
      const old = this.panels.get(model.name);
      if (old && (old.model.key !== model.key || old.model.state !== model.state)) {
        old.box.remove();
        this.panels.delete(model.name);
      }
    }
    this.entries = new Map(this.models.map((model) => [model.name, entry(model)]));
    this.nav.replaceChildren(el("h2", {}, "Models"), el("ul", {}, ...[...this.entries.values()].map(({ item }) => item)));
    if (!this.models.length) {
      this.panel.replaceChildren(el("p", { className: "soft" }, "No model is there yet. As soon as one is loaded, it is shown here."));
    } else this.choose();
  }

  /** The model that the address names, or the first. */
  choose() {
    if (!this.models.length) return;
    const wanted = decodeURIComponent(location.hash.slice(1));
    const model = this.models.find(({ name }) => name === wanted) ?? this.models[0];
    for (const [name, { link }] of this.entries) {
      if (name === model.name) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    if (!this.panels.has(model.name)) this.panels.set(model.name, modelPanel(model));
    const { box } = this.panels.get(model.name);
    if (this.panel.firstElementChild !== box) this.panel.replaceChildren(box);
    const { link } = this.entries.get(model.name);
    if (this.nav.scrollWidth > this.nav.clientWidth) link.scrollIntoView({ block: "nearest", inline: "center" });
  }

  /** The latest sample, and those before it. */
  tell(sample, all) {
    for (const model of this.models) {
      const now = of(sample, model);
      this.entries.get(model.name)?.tell(now, all);
      this.panels.get(model.name)?.tell(now);
    }
  }
}

function of(sample, model) {
  return sample.models.find(({ name, version }) => name === model.name && version === model.version);
}

function entry(model) {
  const spark = el("canvas", { className: "spark", "aria-hidden": "true" });
  const rate = el("span", { className: "rate" });
  const ready = model.state === "ready";
  const link = el("a", { href: `#${encodeURIComponent(model.name)}` },
    el("span", { className: `dot ${model.state}`, title: model.state }),
    el("span", { className: "name" }, model.name, ready ? "" : el("span", { className: "sr" }, ` (${model.state})`)),
    rate, spark, el("span", { className: "does" }, ready ? does(model) : model.state));
  function tell(now, all) {
    rate.textContent = now?.requests ? `${short(now.requests)}/s` : "";
    const values = all.slice(-60).map((sample) => of(sample, model)?.requests ?? 0);
    const top = Math.max(...values);
    paint(spark, (context, width, height) => {
      if (!top) return;
      context.strokeStyle = colour("rate");
      context.lineWidth = 1.5;
      context.beginPath();
      values.forEach((value, place) => {
        context.lineTo(width - ((values.length - 1 - place) / 59) * width, height - 1 - (value / top) * (height - 2));
      });
      context.stroke();
    });
  }
  return { item: el("li", {}, link), link, tell };
}

function does(model) {
  if (model.tasks.length) return model.tasks.map(({ name }) => DOES[name] ?? name).join(", ");
  return `${model.inputs.length} ${model.inputs.length === 1 ? "tensor" : "tensors"} in, ${model.outputs.length} out`;
}

function modelPanel(model) {
  const now = el("p", { className: "now soft" }, "no requests now");
  const box = el("section", { id: `model-${model.name}`, className: "model", "aria-label": model.name },
    el("header", {}, el("h2", {}, model.name), el("span", { className: "pill" }, `version ${model.version}`),
      state(model), verdict(model)),
    model.description ? el("p", { className: "description" }, model.description) : "",
    now);
  if (model.state === "ready") box.append(playground(model));
  else box.append(el("p", { className: "error" }, model.error || `It is ${model.state}.`));
  box.append(details(model));
  function tell(sample) {
    if (!sample) {
      now.textContent = "no requests now";
      return;
    }
    const rows = meanRows(sample.batch_rows);
    const parts = [`${short(sample.requests)} ${sample.requests === 1 ? "request" : "requests"}/s`];
    if (sample.p50_ms !== null) parts.push(`p50 ${duration(sample.p50_ms)}`, `p99 ${duration(sample.p99_ms)}`);
    if (rows !== null) parts.push(`${short(rows)} ${rows === 1 ? "row" : "rows"} in a run`);
    if (sample.queue_rows) parts.push(`${sample.queue_rows} rows wait`);
    if (sample.errors) parts.push(`${short(sample.errors)} errors/s`);
    now.textContent = parts.join(" · ");
  }
  return { model, box, tell };
}

function state(model) {
  const kind = model.state === "ready" ? "good" : model.state === "failed" ? "bad" : "wait";
  return el("span", { className: `pill ${kind}` }, el("span", { className: `dot ${model.state}` }), model.state);
}

function verdict(model) {
  if (!model.batching) return "";
  const [kind, words] = VERDICTS[model.batching] ?? ["", model.batching];
  const { verdict: found = "", node = "", reason = "", refuted = "", declared = false } = model.batch_safety ?? {};
  const why = refuted ? `refuted: ${refuted}` : [found, node, reason].filter(Boolean).join(": ");
  return el("span", { className: `pill ${kind}`, title: why }, `${words} (${refuted ? "refuted" : declared ? "set in model.toml" : found || "no verdict"})`);
}

const SHOWN_LABELS = 6;

/** Signature, limits and metadata, folded. */
function details(model) {
  const rows = [];
  for (const [what, tensors] of [["takes", model.inputs], ["gives", model.outputs]]) {
    for (const tensor of tensors ?? []) {
      const shape = tensor.shape.map((size) => (size < 0 ? "any" : size)).join(" × ");
      rows.push(el("tr", {}, el("th", { scope: "row" }, what), el("td", {}, el("code", {}, tensor.name)),
        el("td", {}, tensor.datatype), el("td", {}, shape)));
    }
  }
  const facts = { ...model.metadata };
  if (model.max_batch_size) facts["largest batch"] = `${model.max_batch_size} rows`;
  for (const [output, labels] of Object.entries(model.labels ?? {})) {
    const more = labels.length > SHOWN_LABELS ? ` … (${labels.length})` : "";
    facts[`labels of ${output}`] = labels.slice(0, SHOWN_LABELS).join(", ") + more;
  }
  const versions = model.others.map((one) => `${one.version} (${one.state})`).join(", ");
  if (versions) facts["other versions"] = versions;
  const list = el("dl", {}, ...Object.entries(facts).flatMap(([name, value]) => [el("dt", {}, name.replaceAll("_", " ")), el("dd", {}, String(value))]));
  const warnings = (model.warnings ?? []).map((text) => el("p", { className: "warning" }, text));
  return el("details", { className: "about" }, el("summary", {}, "Signature and facts"),
    ...warnings,
    el("table", {}, el("thead", {}, el("tr", {}, ...["", "name", "type", "shape"].map((text) => text ? el("th", { scope: "col" }, text) : el("td")))), el("tbody", {}, ...rows)), list,
    el("p", {}, el("a", { href: `v2/models/${encodeURIComponent(model.name)}/scheduler` }, "Why its batches are what they are")));
}
