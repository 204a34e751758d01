/* The microphone, sent as it comes over a WebSocket; words appear while they are spoken. */

import { el, local } from "./dom.js";
import { refusal } from "./inputs.js";

const BLOCKS = 16; // of 128 samples in a message

/** The button that begins and ends it; null where the browser has no microphone to offer. */
export function microphone(task, place) {
  if (!navigator.mediaDevices?.getUserMedia) return null;
  const button = el("button", { type: "button", className: "speak" }, "Live microphone");
  let stop = null;
  button.addEventListener("click", async () => {
    if (stop) {
      stop();
      return;
    }
    const said = el("p", { className: "said" }), now = el("span", { className: "partial" }), level = el("meter", { max: 0.5, "aria-label": "loudness" });
    place.replaceChildren(el("div", { className: "live-speech" }, level, said, now));
    try {
      stop = await listen(task, button, { said, now, level }, () => {
        button.textContent = "Live microphone";
        stop = null;
        level.remove();
      });
    } catch (error) {
      place.replaceChildren(el("p", { className: "error", role: "alert" }, refusal(error, "microphone")));
    }
  });
  return button;
}

async function listen(task, button, shown, ended) {
  const media = await navigator.mediaDevices.getUserMedia({ audio: true });
  const context = new AudioContext();
  await context.audioWorklet.addModule(new URL("tap.js", import.meta.url));
  const url = new URL(`${local(task.path)}/stream?encoding=f32le&rate=${context.sampleRate}`, document.baseURI);
  url.protocol = url.protocol.replace("http", "ws");
  const socket = new WebSocket(url);
  socket.onmessage = ({ data }) => tell(JSON.parse(data), shown);
  socket.onopen = () => {
    const tap = new AudioWorkletNode(context, "tap");
    let waiting = [];
    tap.port.onmessage = ({ data }) => {
      waiting.push(data);
      if (waiting.length < BLOCKS || socket.readyState !== WebSocket.OPEN) return;
      const block = new Float32Array(waiting.length * data.length);
      waiting.forEach((piece, at) => block.set(piece, at * data.length));
      waiting = [];
      shown.level.value = block.reduce((top, one) => Math.max(top, Math.abs(one)), 0);
      socket.send(block);
    };
    context.createMediaStreamSource(media).connect(tap);
    button.textContent = "Stop";
  };
  const end = () => {
    media.getTracks().forEach((track) => track.stop());
    if (context.state !== "closed") context.close();
    ended();
  };
  socket.onclose = end;
  socket.onerror = () => shown.now.replaceChildren(el("span", { className: "error" }, "The stream was refused."));
  return () => {
    if (socket.readyState === WebSocket.OPEN) socket.send('{"event": "end"}');
    end();
  };
}

function tell(event, { said, now }) {
  if (event.event === "error") now.replaceChildren(el("span", { className: "error" }, event.error));
  else if (event.event === "partial") now.textContent = event.text;
  else if (event.event === "segment") {
    now.textContent = "";
    said.append(event.text ?? `${event.start.toFixed(2)} s to ${event.end.toFixed(2)} s`, "\n");
  }
}
