// Asks with Hugging Face's JavaScript client: node hugging_face.mjs MODULES URL RECORDING PICTURE
import fs from "node:fs";
import { createRequire } from "node:module";

const [modules, url, recording, picture] = process.argv.slice(2);
const { InferenceClient } = createRequire(`${modules}/package.json`)("@huggingface/inference");
const client = new InferenceClient("none");
const tell = (name, value) => console.log(name, JSON.stringify(value));
const at = (model) => ({ endpointUrl: `${url}/hf/${model}` });
const file = (path, type) => new Blob([fs.readFileSync(path)], { type });
const labels = { candidate_labels: ["mat", "cat"] };

tell("speech", await client.automaticSpeechRecognition({ ...at("gpt-4o-transcribe"), inputs: file(recording, "audio/flac") }));
tell("mood", await client.textClassification({ ...at("mood"), inputs: "good cat" }));
tell("names", await client.tokenClassification({ ...at("names"), inputs: "Ann London" }));
tell("zero-shot", await client.zeroShotClassification({ ...at("nli"), inputs: "a cat", parameters: labels }));
tell("vectors", await client.featureExtraction({ ...at("vectors"), inputs: ["cat", "dog"], dimensions: 3 }));
tell("likeness", await client.sentenceSimilarity({ ...at("vectors"), inputs: { source_sentence: "cat", sentences: ["dog", "cat"] } }));
tell("picture", await client.imageClassification({ ...at("imagenet"), data: file(picture, "image/jpeg") }));
const refused = client.zeroShotImageClassification({ ...at("imagenet"), inputs: { image: file(picture, "image/jpeg") }, parameters: labels });
tell("refused", await refused.then(() => "answered", (error) => error.message));
