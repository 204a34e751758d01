/* What a model is given: a file by choice, drop, paste or camera; a text; JSON; a digit that is drawn. */

import { bytes, el } from "./dom.js";
export { digitPad } from "./digits.js";

/** Files. `run` is called when one has come. */
export function filePicker(task, kind, run) {
  let file = null;
  const name = { image: "a picture", audio: "a recording", file: "a file" }[kind];
  const input = el("input", { type: "file", className: "sr", accept: task.media_types.join(",") });
  const shown = el("div", { className: "chosen" });
  const said = el("span", { className: "soft" }, `or drop it here, or paste it`);
  const box = el("div", { className: `drop ${kind}` }, el("label", { className: "choose" }, input, el("span", {}, `Choose ${name}`)), said, shown);
  const media = navigator.mediaDevices?.getUserMedia;
  if (kind === "image" && media) said.before(camera(come, shown));
  if (kind === "audio" && media && window.MediaRecorder) said.before(recorder(come));
  if (kind !== "file" && !media && !window.isSecureContext) said.after(el("p", { className: "soft" }, `Browsers give the ${kind === "image" ? "camera" : "microphone"} to pages of https:// and localhost only.`));

  function take(given) {
    file = given;
    said.textContent = `${file.name}, ${bytes(file.size)}`;
    shown.replaceChildren();
  }

  function come(given) {
    if (!given) return;
    take(given);
    run();
  }
  input.addEventListener("change", () => {
    come(input.files[0]);
    input.value = ""; // the same file can be chosen again
  });
  box.addEventListener("dragover", (event) => {
    event.preventDefault();
    box.classList.add("over");
  });
  box.addEventListener("dragleave", () => box.classList.remove("over"));
  box.addEventListener("drop", (event) => {
    event.preventDefault();
    box.classList.remove("over");
    come(event.dataTransfer.files[0]);
  });
  document.addEventListener("paste", (event) => {
    if (box.isConnected) come([...(event.clipboardData?.files ?? [])].find((one) => one.type.startsWith(`${kind}/`)));
  });
  return {
    box, take, missing: `Choose ${name} first, or click on an example.`, touched: () => file !== null,
    value: () => (file ? { body: file, type: file.type || "application/octet-stream", file } : null),
  };
}

/** A button that takes a picture with the camera. */
function camera(come, shown) {
  const button = el("button", { type: "button", className: "second" }, "Camera");
  let media = null;
  button.addEventListener("click", async () => {
    try {
      if (!media) {
        media = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
        const video = el("video", { srcObject: media, muted: true, playsInline: true, "aria-label": "camera" });
        shown.replaceChildren(video);
        await video.play();
        button.textContent = "Take the picture";
        return;
      }
      const video = shown.querySelector("video");
      const canvas = el("canvas", { width: video.videoWidth, height: video.videoHeight });
      canvas.getContext("2d").drawImage(video, 0, 0);
      const blob = await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.92));
      end();
      come(new File([blob], "camera.jpg", { type: "image/jpeg" }));
    } catch (error) {
      end();
      shown.replaceChildren(el("p", { className: "error", role: "alert" }, refusal(error, "camera")));
    }
  });
  function end() {
    media?.getTracks().forEach((track) => track.stop());
    media = null;
    button.textContent = "Camera";
  }
  return button;
}

/** A button that records with the microphone until it is pressed once more. */
function recorder(come) {
  const button = el("button", { type: "button", className: "second" }, "Record");
  let recording = null;
  button.addEventListener("click", async () => {
    if (recording) {
      recording.stop();
      return;
    }
    try {
      const media = await navigator.mediaDevices.getUserMedia({ audio: true });
      const parts = [];
      recording = new MediaRecorder(media);
      recording.ondataavailable = ({ data }) => parts.push(data);
      recording.onstop = () => {
        const type = recording.mimeType.split(";")[0];
        media.getTracks().forEach((track) => track.stop());
        recording = null;
        button.textContent = "Record";
        come(new File(parts, `recording.${type.split("/")[1]}`, { type }));
      };
      recording.start();
      button.textContent = "Stop recording";
    } catch (error) {
      recording = null;
      button.after(el("p", { className: "error", role: "alert" }, refusal(error, "microphone")));
    }
  });
  return button;
}

/** Why there is no camera or microphone, in words. */
export function refusal(error, what) {
  const words = {
    NotAllowedError: `The browser was not permitted to use the ${what}.`,
    NotFoundError: `There is no ${what}.`,
    NotReadableError: `Another program uses the ${what}.`,
  };
  return words[error.name] ?? `The ${what} can't be used: ${error.message}`;
}

export function textEditor(task) {
  const area = el("textarea", { rows: 3, "aria-label": task.payload, spellcheck: false });
  return {
    box: el("div", {}, area), take: (text) => { area.value = text; }, missing: "Write a text first.",
    touched: () => area.value !== "", value: () => (area.value ? { body: area.value, type: "text/plain" } : null),
  };
}

export function jsonEditor(task) {
  const area = el("textarea", { className: "json", rows: 5, "aria-label": `${task.summary} (JSON)`, spellcheck: false });
  let names = false; // whether the body is names of items, which may be written without the JSON around them
  function body() {
    const items = area.value.split(/[\s,;]+/).filter(Boolean);
    return names && !/^\s*[{[]/.test(area.value) ? JSON.stringify({ [task.payload]: items }) : area.value;
  }
  return {
    box: el("div", {}, area),
    take: (text) => {
      area.value = indented(text);
      names = Array.isArray(parsed(text)?.[task.payload]);
    },
    missing: "Write the body of the request first.", touched: () => area.value !== "",
    value: () => (area.value.trim() ? { body: body(), type: "application/json" } : null),
  };
}

const LONGEST = 20_000; // characters that a text field shows in lines

function indented(text) {
  const value = parsed(text);
  if (value === undefined) return text;
  const lines = JSON.stringify(value, null, 1);
  return (lines.length > LONGEST ? text : lines).replace(/\[\s+([^[\]{}]*?)\s+\]/g, (_, inner) => `[${inner.replace(/\s*\n\s*/g, " ")}]`);
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const MOST_FIELDS = 30;

/** Whether a row is a few single values: then each has a field of its own. */
export function isForm(model) {
  return model.inputs.length <= MOST_FIELDS && model.inputs.every(({ shape }) => shape.length <= 1 || (shape.length === 2 && shape[1] === 1));
}

/** A field for each input. */
export function rowForm(model) {
  const fields = model.inputs.map(({ name, datatype }) => {
    const text = datatype === "BYTES", whole = /^U?INT/.test(datatype);
    const input = el("input", { name: "", "data-input": name, type: text ? "text" : "number", step: whole ? "1" : "any", autocomplete: "off", required: true });
    return { name, datatype, input, label: el("label", {}, el("span", {}, name.replaceAll("_", " ")), input) };
  });
  const nested = model.inputs.map(({ shape }) => shape.length === 2);
  const boolean = (datatype, text) => (datatype === "BOOL" ? Boolean(Number(text)) : Number(text));
  return {
    box: el("div", { className: "fields" }, ...fields.map(({ label }) => label)),
    take(text) {
      const row = JSON.parse(text).instances[0];
      fields.forEach(({ name, input }, place) => {
        const value = fields.length === 1 && typeof row !== "object" ? row : row[name] ?? row[place];
        input.value = String(Array.isArray(value) ? value[0] : Number(value === true || value) === 1 && typeof value === "boolean" ? 1 : value);
      });
    },
    missing: "Fill in every field first, or click on an example.", touched: () => fields.some(({ input }) => input.value !== ""),
    value() {
      if (fields.some(({ input }) => input.value === "")) return null;
      const row = {};
      fields.forEach(({ name, datatype, input }, place) => {
        const value = datatype === "BYTES" ? input.value : boolean(datatype, input.value);
        row[name] = nested[place] ? [value] : value;
      });
      return { body: JSON.stringify({ instances: [row] }), type: "application/json" };
    },
  };
}
