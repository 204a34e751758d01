/* Elements, numbers and errors, as all modules of the page write them. */

/** An element: `on…` fields are listeners, other fields are properties or attributes. */
export function el(tag, fields = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(fields)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name.includes("-") || !(name in node)) node.setAttribute(name, value === true ? "" : value);
    else node[name] = value;
  }
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return node;
}

/** A number in at most three digits and a unit's prefix: 12.3 k. */
export function short(number) {
  if (number < 10) return String(Number(number.toFixed(number < 0.1 ? 2 : 1)));
  if (number >= 1e6) return `${digits(number / 1e6)} M`;
  if (number >= 1e4) return `${digits(number / 1e3)} k`;
  return digits(number);
}

function digits(number) {
  if (number === 0) return "0";
  return Math.abs(number) >= 100 ? String(Math.round(number)) : String(Number(number.toPrecision(number < 1 ? 2 : 3)));
}

/** Milliseconds as people say them. */
export function duration(ms) {
  if (ms === null || ms === undefined) return "–";
  if (ms >= 1000) return `${digits(ms / 1000)} s`;
  return ms < 1 ? `${digits(ms * 1000)} µs` : `${digits(ms)} ms`;
}

export function bytes(count) {
  if (count < 1024) return `${count} bytes`;
  return count < 1048576 ? `${Math.round(count / 1024)} KB` : `${digits(count / 1048576)} MB`;
}

/** A canvas in the device's pixels; `draw` gets its context and its size in CSS pixels. */
export function paint(canvas, draw) {
  const { width, height } = canvas.getBoundingClientRect();
  const scale = Math.min(window.devicePixelRatio || 1, 3);
  const wide = Math.round(width * scale), high = Math.round(height * scale);
  if (!wide || !high) return;
  if (canvas.width !== wide || canvas.height !== high) {
    canvas.width = wide;
    canvas.height = high;
  }
  const context = canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  draw(context, width, height);
}

/** A colour of the style sheet, as it is now: light or dark. */
export function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/** The JSON of a path of the service. Throws an Error with the service's words. */
export async function json(path) {
  const response = await ask(path);
  const answer = await read(response);
  if (!response.ok) throw new Error(problem(response, answer));
  return answer;
}

/** fetch, with words where nothing answers. */
export async function ask(path, options) {
  try {
    return await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The service does not answer. Is it still running?", { cause: error });
  }
}

export async function read(response) {
  const text = await response.text();
  try {
    return JSON.parse(text);
  } catch {
    return { error: text };
  }
}

const MEANINGS = {
  400: "The service can't read this request",
  401: "A key is needed",
  403: "The key does not permit this",
  404: "There is no such thing",
  413: "This is too large",
  415: "The service does not take this kind of file",
  429: "The quota is used up",
  503: "The service is too busy or not ready",
  504: "The deadline has passed",
};

/** What went wrong, in words. */
export function problem(response, answer) {
  const said = answer?.error?.message ?? answer?.error ?? "";
  const meaning = MEANINGS[response.status] ?? (response.status >= 500 ? "The service has failed" : "Refused");
  return `${response.status}: ${said || meaning}`;
}

/** A path of the document as the page's own relative URL, so that prefixes of proxies stay. */
export function local(path) {
  return path.replace(/^\//, "");
}

export function failure(error) {
  return el("p", { className: "error", role: "alert" }, error.message ?? String(error));
}
