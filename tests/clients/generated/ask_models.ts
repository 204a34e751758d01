// Asks models with the types that openapi-typescript has made of the document, through openapi-fetch.
// Usage: node ask_models.js URL
import createClient from "openapi-fetch";
import type { paths } from "./generated";

async function main(url: string): Promise<void> {
  const client = createClient<paths>({ baseUrl: url });

  const instances = [new Array<number>(64).fill(0), new Array<number>(64).fill(1)];
  const predicted = await client.POST("/v1/models/digits:predict", { body: { instances } });
  if (predicted.error) throw new Error(predicted.error.error);
  console.log("digits", predicted.data.predictions?.length);

  const short = await client.POST("/v1/models/digits:predict", { body: { instances: [[0]] } });
  console.log("refused", short.error?.error);

  const body = { text: "Wo ist die nächste Apotheke?", top_k: 1 };
  const said = await client.POST("/models/language/classify", { body });
  if (said.error) throw new Error(said.error.error);
  console.log("language", said.data.results[0].labels[0].label);

  const params = { path: { model: "digits" } };
  const described = await client.GET("/v2/models/{model}", { params });
  if (described.error) throw new Error(described.error.error);
  console.log("metadata", described.data.inputs.map((one) => one.name));
}

main(process.argv[2]);
