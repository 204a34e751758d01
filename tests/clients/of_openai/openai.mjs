// Asks with OpenAI's JavaScript SDK: node openai.mjs MODULES URL RECORDING
import fs from "node:fs";
import { createRequire } from "node:module";

const [modules, url, recording] = process.argv.slice(2);
const { OpenAI } = createRequire(`${modules}/package.json`)("openai");
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0 });
const tell = (name, value) => console.log(name, JSON.stringify(value));
const refusal = (request) => request.then(() => "answered", (error) => error.message);

const vectors = (input, more = {}) => client.embeddings.create({ model: "text-embedding-3-small", input, ...more });
const length = async (...asked) => (await vectors(...asked)).data[0].embedding.length;
const transcribe = (more = {}) =>
  client.audio.transcriptions.create({ file: fs.createReadStream(recording), model: "gpt-4o-transcribe", ...more });

tell("models", (await client.models.list()).data.map((model) => model.id));
tell("vectors", {
  usual: await length(["a cat", "a dog"]),
  float: await length("a cat", { encoding_format: "float", user: "user-1234" }),
  base64: await length("a cat", { encoding_format: "base64" }),
  short: await length("a cat", { dimensions: 3 }),
  tokens: await length([[2, 6, 3]]),
});
tell("too-long", await refusal(vectors("a cat", { dimensions: 9 })));
tell("json", await transcribe());
tell("text", await transcribe({ response_format: "text" }));
tell("verbose", await transcribe({ response_format: "verbose_json", timestamp_granularities: ["segment"] }));
const events = [];
for await (const event of await transcribe({ stream: true })) events.push(event);
tell("events", events);
tell("words", await refusal(transcribe({ response_format: "verbose_json", timestamp_granularities: ["word"] })));
