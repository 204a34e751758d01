/* One model's playground: examples, an input, the answer, its time, code, and a burst of requests. */

import { ask, el, failure, json, local, problem, read } from "./dom.js";
import { burst } from "./burst.js";
import { digitPad, filePicker, isForm, jsonEditor, rowForm, textEditor } from "./inputs.js";
import { microphone } from "./microphone.js";
import { showAnswer } from "./results.js";
import { snippets } from "./snippets.js";
import { timing } from "./timing.js";

let document_ = null;

/** The OpenAPI document, fetched once, when it is needed first. */
function openapi() {
  document_ ??= json("openapi.json").catch((error) => {
    document_ = null;
    throw error;
  });
  return document_;
}

/** All that a model can be asked. */
export function playground(model) {
  const examples = json(`models/${encodeURIComponent(model.name)}/examples`).then(({ examples: found }) => found, () => []);
  const box = el("div", { className: "playground" });
  const paths = model.tasks.length ? model.tasks : [tensorTask(model)];
  for (const task of paths) box.append(oneTask(model, task, examples));
  return box;
}

/** What takes tensors, in the words of tasks. */
function tensorTask(model) {
  return {
    name: "predict", path: `/v1/models/${model.name}:predict`, summary: "Send tensors as JSON",
    payload: "instances", media_types: [], streams: false, tensors: true,
    ...(isDigit(model) ? { summary: "Draw a digit" } : isForm(model) ? { summary: "Try a row" } : {}),
  };
}

function kindOf(task) {
  if (task.media_types.some((media) => media.startsWith("image/"))) return "image";
  if (task.media_types.some((media) => media.startsWith("audio/"))) return "audio";
  if (task.media_types.some((media) => media.startsWith("text/"))) return "text";
  return task.media_types.length ? "file" : "json";
}

/** A digit can be drawn where one row is a square of pixels with ten classes. */
function isDigit(model) {
  const size = Math.sqrt(model.inputs[0]?.shape.at(-1));
  const classes = Object.values(model.labels ?? {})[0];
  return model.inputs.length === 1 && model.inputs[0].shape.length === 2 && Number.isInteger(size) && size >= 4 && size <= 64
    && classes?.length === 10 && classes[0] === "0";
}

function tensorInput(model, task, run) {
  if (!task.tensors) return jsonEditor(task);
  if (isDigit(model)) return digitPad(model, run);
  return isForm(model) ? rowForm(model) : jsonEditor(task);
}

function oneTask(model, task, examples) {
  const kind = kindOf(task);
  const answer = el("div", { className: "answer", "aria-live": "polite" });
  const more = el("div", { className: "more" });
  const fields = el("div", { className: "fields" });
  const thumbs = el("div", { className: "examples" });
  const button = el("button", { type: "submit" }, task.tensors ? "Predict" : task.name[0].toUpperCase() + task.name.slice(1));
  const input = {
    image: () => filePicker(task, "image", run), audio: () => filePicker(task, "audio", run), file: () => filePicker(task, "file", run),
    text: () => textEditor(task), json: () => tensorInput(model, task, run),
  }[kind]();
  const row = el("div", { className: "row" }, button);
  const speak = task.streams ? microphone(task, answer) : null;
  if (speak) row.append(speak);
  row.append(burst(model, request, answer, () => {
    running += 1; // an answer that is still to come would take the place of what the burst shows
    ended();
    more.replaceChildren();
  }));

  const parameters = el("details", { className: "parameters" }, el("summary", {}, "Parameters"), fields);
  parameters.addEventListener("toggle", () => { if (parameters.open && !fields.children.length) fill(fields, task); });
  const given = el("div", { className: "given" }, input.box, row, task.tensors ? "" : parameters);
  const form = el("form", { "aria-label": task.summary, noValidate: true }, el("h3", {}, task.summary), thumbs, given, answer, more);
  if (task.tensors && isDigit(model)) form.classList.add("side");
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    run();
  });

  /** The request as it is to be sent; null where nothing has been chosen yet. */
  function request() {
    const given = input.value();
    if (given === null) return null;
    const query = new URLSearchParams();
    for (const field of fields.querySelectorAll("input")) if (field.value) query.append(field.name, field.value);
    const path = query.size ? `${local(task.path)}?${query}` : local(task.path);
    const headers = { "Content-Type": given.type };
    return { path, init: { method: "POST", headers, body: given.body }, given, kind };
  }

  let running = 0;

  async function run() {
    const asked = request();
    if (asked === null) {
      answer.replaceChildren(failure(new Error(input.missing)));
      return;
    }
    const mine = ++running;
    button.disabled = true;
    answer.classList.add("waiting");
    answer.setAttribute("aria-busy", "true");
    try {
      const begun = performance.now();
      const response = await ask(asked.path, asked.init);
      const said = await read(response);
      const took = performance.now() - begun;
      if (mine !== running) return;
      if (!response.ok) throw new Error(problem(response, said));
      const shown = await showAnswer(said, asked, model);
      if (mine !== running) return;
      answer.replaceChildren(...shown, timing(response, took));
      more.replaceChildren(snippets(asked, task), el("details", {}, el("summary", {}, "The answer as JSON"), el("pre", { tabIndex: 0 }, JSON.stringify(said, null, 1))));
    } catch (error) {
      if (mine !== running) return;
      answer.replaceChildren(failure(error));
      more.replaceChildren();
    } finally {
      if (mine === running) ended();
    }
  }

  function ended() {
    answer.classList.remove("waiting");
    answer.removeAttribute("aria-busy");
    button.disabled = false;
  }

  offer(model, task, kind, examples, thumbs, input, run);
  return form;
}

/** Examples to click on: files beside the model, or the one of its document. */
async function offer(model, task, kind, examples, thumbs, input, run) {
  const files = (await examples).filter((one) => (one.request ? kind === "json" : one.media_type.startsWith(`${kind}/`)));
  const { thumbnail } = await import("./thumbnails.js");
  const buttons = [];
  for (const file of files) {
    const picked = el("button", { type: "button", className: `example ${kind}`, title: file.title });
    picked.append(await thumbnail(file, kind, model));
    picked.addEventListener("click", async () => {
      for (const other of buttons) other.setAttribute("aria-pressed", String(other === picked));
      try {
        const response = await ask(local(file.path));
        if (!response.ok) throw new Error(problem(response, await read(response)));
        const blob = await response.blob();
        await input.take(kind === "json" || kind === "text" ? (await blob.text()).trim() : new File([blob], decodeURIComponent(file.path.split("/").at(-1)), { type: file.media_type }));
        run();
      } catch (error) {
        thumbs.after(failure(error));
      }
    });
    buttons.push(picked);
  }
  if (buttons.length) {
    thumbs.append(...buttons);
    if (kind !== "json" && kind !== "text") return;
  }
  try {
    const content = (await openapi()).paths[task.path]?.post?.requestBody?.content?.["application/json"];
    if (content?.example && !input.touched()) await input.take(kind === "text" ? content.example[task.payload] : JSON.stringify(content.example));
  } catch { /* the model can still be asked by hand */ }
}

/** Fields for the parameters that the document tells. */
async function fill(fields, task) {
  try {
    const operation = (await openapi()).paths[task.path]?.post;
    const known = (operation?.parameters ?? []).filter((one) => one.in === "query");
    fields.replaceChildren(...known.map((one) => el("label", { title: one.description ?? "" }, el("span", {}, one.name),
      el("input", { name: one.name, placeholder: String(one.schema.default ?? ""), autocomplete: "off" }),
      one.description ? el("small", {}, one.description) : "")));
    if (!known.length) fields.append(el("p", { className: "soft" }, "It has none."));
  } catch (error) {
    fields.replaceChildren(failure(error));
  }
}
