/* Where the time of a request went: the Server-Timing header as a bar. */

import { duration, el } from "./dom.js";

const PHASES = [
  ["decode", "decode"], ["queue", "queue"], ["compute", "compute"], ["encode", "encode"], ["rest", "other"], ["network", "network"],
];

/** The phases in milliseconds, and `rows` that shared the run. */
export function parse(header) {
  const found = {};
  for (const part of (header ?? "").split(",")) {
    const name = part.trim().split(";")[0];
    const dur = /dur=([\d.]+)/.exec(part), desc = /desc="(\d+) rows"/.exec(part);
    if (dur) found[name] = Number(dur[1]);
    if (desc) found.rows = Number(desc[1]);
  }
  return found;
}

/** The bar, its legend and what shared the run. `took` is what the browser has measured. */
export function timing(response, took) {
  const parts = parse(response.headers.get("server-timing"));
  const total = parts.total ?? took;
  const known = ["decode", "queue", "compute", "encode"].reduce((sum, name) => sum + (parts[name] ?? 0), 0);
  const shown = { ...parts, network: Math.max(0, took - total) };
  shown.rest = Math.max(0, total - known);
  const bar = el("div", { className: "timebar", "aria-hidden": "true" });
  const legend = el("ul", { className: "legend" });
  for (const [name, words] of PHASES) {
    if (!(shown[name] > 0.0005)) continue;
    const piece = el("span", { className: `phase ${name}` });
    piece.style.flexGrow = shown[name] / took;
    bar.append(piece);
    legend.append(el("li", {}, el("span", { className: `phase ${name}` }), `${known || name === "network" ? words : "the pipeline"} ${duration(shown[name])}`));
  }
  const shared = parts.rows > 1 ? `, its run had ${parts.rows} rows` : parts.rows === 1 ? ", alone in its run" : "";
  return el("div", { className: "time" }, el("p", {}, `Answered in ${duration(took)}`, shared), bar, legend);
}
