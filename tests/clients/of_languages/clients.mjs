// Clients for Node, each as its manual shows it: a line of kind, client and answer for each call.
// Usage: node clients.mjs URL PICTURE
import fs from "node:fs";
import http from "node:http";
import axios from "axios";
import got from "got";
import ky from "ky";
import needle from "needle";
import nodeFetch from "node-fetch";
import superagent from "superagent";
import * as undici from "undici";

const [url, picture] = process.argv.slice(2);

async function tell(kind, client, answer) {
  let body;
  try {
    body = await answer();
  } catch (error) {
    body = { failed: String(error.response?.data?.error ?? error) };
  }
  const text = typeof body === "string" ? body : JSON.stringify(body);
  console.log([kind, client, text.replaceAll("\n", " ")].join("\t"));
}

const letters = `${url}/models/letters/classify`;
const colours = `${url}/models/colours/classify`;
const one = { text: "zebra zoo" };
const two = { texts: ["zebra zoo", "yes"] };
const file = () => fs.createReadStream(picture);
const blob = () => fs.openAsBlob(picture);
const post = async (where, body, more = {}) =>
  (await fetch(where, { method: "POST", body, ...more })).json();
const form = async (name, count) => {
  const made = new FormData();
  for (let i = 0; i < count; i++) made.append(name, await blob(), "red.png");
  return made;
};

await tell("text", "fetch", () => post(letters, JSON.stringify(one)));
await tell("text", "fetch, URLSearchParams", () => post(letters, new URLSearchParams(one)));
await tell("picture", "fetch, bytes", () => post(colours, fs.readFileSync(picture)));
await tell("picture", "fetch, Blob", async () => post(colours, await blob()));
await tell("picture", "fetch, stream", async () =>
  post(colours, (await blob()).stream(), { duplex: "half" }));
await tell("picture", "fetch, FormData", async () => post(colours, await form("image", 1)));
await tell("pictures", "fetch, FormData", async () => post(colours, await form("images[]", 2)));
await tell("text", "axios", async () => (await axios.post(letters, one)).data);
await tell("text", "axios, string", async () =>
  (await axios.post(letters, JSON.stringify(one))).data);
await tell("texts", "axios, form", async () => (await axios.postForm(letters, two)).data);
await tell("texts", "axios, URL-encoded", async () =>
  (await axios.post(letters, two, {
    headers: { "Content-Type": "application/x-www-form-urlencoded" },
  })).data);
await tell("picture", "axios, stream", async () => (await axios.post(colours, file())).data);
await tell("pictures", "axios, form", async () =>
  (await axios.postForm(colours, { images: [file(), file()] })).data);
await tell("text", "got", () => got.post(letters, { json: one }).json());
await tell("text", "got, form", () => got.post(letters, { form: one }).json());
await tell("picture", "got, stream", () => got.post(colours, { body: file() }).json());
await tell("text", "got, HTTP/2 allowed", () =>
  got.post(letters, { json: one, http2: true }).json());
await tell("text", "superagent", async () => (await superagent.post(letters).send(one)).body);
await tell("picture", "superagent, attach", async () =>
  (await superagent.post(colours).attach("image", picture)).body);
await tell("text", "needle", async () =>
  (await needle("post", letters, one, { json: true })).body);
await tell("picture", "needle, multipart", async () =>
  (await needle("post", colours, { image: { file: picture, content_type: "image/png" } },
    { multipart: true })).body);
await tell("text", "ky", () => ky.post(letters, { json: one }).json());
await tell("text", "node-fetch", async () =>
  (await nodeFetch(letters, { method: "POST", body: JSON.stringify(one) })).json());
await tell("picture", "node-fetch, stream", async () =>
  (await nodeFetch(colours, { method: "POST", body: file() })).json());
await tell("picture", "undici", async () =>
  (await undici.request(colours, { method: "POST", body: file() })).body.json());
await tell("text", "http of Node", () => new Promise((done, failed) => {
  const request = http.request(letters, { method: "POST" }, async (answer) => {
    let text = "";
    for await (const piece of answer) text += piece;
    done(text);
  });
  request.on("error", failed);
  request.end(JSON.stringify(one));
}));
