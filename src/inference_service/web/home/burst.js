/* "Load test": the same request over and over from several connections, so that batching can be seen. */

import { ask, duration, el, failure, short } from "./dom.js";
import { parse } from "./timing.js";

const SECONDS = 8;
const CLIENTS = 16; // a browser has six connections to a service; the others wait for one

/** The button. `request` gives what is sent, null where nothing has been chosen; `begun` is called when it begins. */
export function burst(model, request, place, begun) {
  const button = el("button", { type: "button", className: "second", title: `Sends this request over and over for ${SECONDS} s` }, "Load test");
  let stop = null;
  button.addEventListener("click", async () => {
    if (stop) {
      stop.abort();
      return;
    }
    const asked = request();
    if (asked === null) {
      place.replaceChildren(failure(new Error("Choose an example first: it is what is sent.")));
      return;
    }
    stop = new AbortController();
    button.textContent = "Stop";
    const told = { done: 0, errors: 0, times: [], rows: new Map(), begun: performance.now() };
    const box = el("div", { className: "burst" });
    begun();
    place.replaceChildren(box);
    box.scrollIntoView({ block: "nearest" });
    const end = setTimeout(() => stop?.abort(), SECONDS * 1000);
    const clock = setInterval(() => summary(box, told, model), 250);
    await Promise.all(Array.from({ length: CLIENTS }, () => client(asked, told, stop.signal)));
    clearTimeout(end);
    clearInterval(clock);
    summary(box, told, model);
    box.scrollIntoView({ block: "nearest" });
    stop = null;
    button.textContent = "Load test";
  });
  return button;
}

async function client({ path, init }, told, signal) {
  while (!signal.aborted) {
    try {
      const begun = performance.now();
      const response = await ask(path, { ...init, signal });
      await response.arrayBuffer();
      if (response.ok) {
        const { rows, total } = parse(response.headers.get("server-timing"));
        told.times.push(total ?? performance.now() - begun);
        if (rows) told.rows.set(rows, (told.rows.get(rows) ?? 0) + 1);
        told.done += 1;
      } else {
        told.errors += 1;
        told.said = response.status;
        await new Promise((next) => { setTimeout(next, 200); });
      }
    } catch (error) {
      if (error.name !== "AbortError") told.errors += 1;
      if (error.name !== "AbortError") return;
    }
  }
}

function summary(box, told, model) {
  const seconds = (performance.now() - told.begun) / 1000;
  const times = told.times.toSorted((one, other) => one - other);
  const at = (share) => (times.length ? times[Math.min(times.length - 1, Math.floor(share * times.length))] : null);
  const facts = [
    [short(told.done), "requests answered"], [`${short(told.done / seconds)}/s`, "throughput"],
    [duration(at(0.5)), "median in the service"], [duration(at(0.99)), "99th percentile"],
  ];
  if (told.errors) facts.push([String(told.errors), `refused (${told.said ?? "no answer"})`]);
  const list = el("dl", { className: "facts" }, ...facts.map(([number, name]) => el("div", {}, el("dd", {}, number), el("dt", {}, name))));
  box.replaceChildren(list);
  const all = [...told.rows.values()].reduce((sum, one) => sum + one, 0);
  if (!all) return;
  const mean = [...told.rows].reduce((sum, [rows, count]) => sum + count * rows, 0) / all;
  const words = mean > 1.05 ? `A request shared its run with ${short(mean - 1)} others on average.` : model.batching === "merge"
    ? "Each run was over before the next request came, so there was nothing to share." : "This model's requests share no runs.";
  const columns = el("div", { className: "columns-of-runs", role: "img", "aria-label": words });
  for (const [rows, count] of [...told.rows].sort(([one], [other]) => one - other).slice(0, 16)) {
    const column = el("span", {}, el("i", {}), el("small", {}, String(rows)));
    column.firstChild.style.height = `${Math.max(2, (44 * count) / Math.max(...told.rows.values()))}px`;
    columns.append(column);
  }
  box.append(el("p", {}, words), el("figure", {}, columns, el("figcaption", { className: "soft" }, "requests by the rows of their run")));
}
