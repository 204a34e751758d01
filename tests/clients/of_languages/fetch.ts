// The fetch of Deno and Bun. Usage: deno run -A fetch.ts URL PICTURE, or bun run fetch.ts …
import { openAsBlob, readFileSync } from "node:fs";
import process from "node:process";

const [url, picture] = process.argv.slice(2);
const runtime = "Deno" in globalThis ? "Deno" : "Bun";
const letters = `${url}/models/letters/classify`;
const colours = `${url}/models/colours/classify`;

async function tell(kind: string, client: string, where: string, body: BodyInit, more = {}) {
  const answer = await fetch(where, { method: "POST", body, ...more });
  console.log([kind, `${runtime}, ${client}`, await answer.text()].join("\t"));
}

const bytes = new Uint8Array(readFileSync(picture));
const form = new FormData();
for (let i = 0; i < 2; i++) form.append("images[]", new Blob([bytes]), "red.png");
await tell("text", "JSON", letters, JSON.stringify({ text: "zebra zoo" }));
await tell("text", "URLSearchParams", letters, new URLSearchParams({ text: "zebra zoo" }));
await tell("picture", "bytes", colours, bytes);
await tell("picture", "Blob", colours, await openAsBlob(picture));
await tell("picture", "stream", colours, new Blob([bytes]).stream(), { duplex: "half" });
await tell("pictures", "FormData", colours, form);
