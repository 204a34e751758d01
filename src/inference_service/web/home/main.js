/* The home page: live tiles, the list of models, and the panel of the model that is chosen. */

import { el, failure, json } from "./dom.js";
import { watch } from "./feed.js";
import { liveTiles } from "./live.js";
import { ModelList } from "./models.js";

const health = document.getElementById("health");
const panel = document.getElementById("panel");
const show = liveTiles(document.getElementById("live"));
const list = new ModelList(document.getElementById("models"), panel);

function say(kind, text) {
  if (health.lastElementChild.textContent === text) return;
  health.className = `health ${kind}`;
  health.replaceChildren(el("span", { className: "dot" }), el("span", {}, text));
}

let known = "";
let counted = "";

async function load(states) {
  try {
    const [versions, tasks] = await Promise.all([json("v2/models"), json("models")]);
    list.show(versions.models, tasks.models);
  } catch (error) {
    panel.replaceChildren(failure(error));
    known = "";
    return;
  }
  const ready = states.filter((one) => one.state === "ready").length;
  const failed = states.filter((one) => one.state === "failed").length;
  counted = `${ready} ${ready === 1 ? "model" : "models"}${failed ? `, ${failed} failed` : ""}`;
}

watch({
  models(states) {
    const text = JSON.stringify(states.map(({ name, version, state }) => [name, version, state]));
    if (text !== known) {
      known = text;
      load(states);
    }
  },
  sample(sample, all) {
    show(sample, all);
    list.tell(sample, all);
    if (sample.problem) say("wait", `Not ready: ${sample.problem}`);
    else say("good", `Ready${counted ? `, ${counted}` : ""}`);
  },
  lost() {
    say("bad", "No connection to the service; trying again …");
  },
});
