/* The request that was just sent, as curl, Python and JavaScript to copy. */

import { el } from "./dom.js";

const LONGEST = 2000; // characters of a body that are written out

/** A box with a tab for each language. */
export function snippets(asked, task) {
  const url = new URL(asked.path, document.baseURI).href;
  const { body, type, file } = asked.given;
  const sent = file ? null : body.length > LONGEST ? null : body;
  const name = file?.name ?? "body.json";
  const texts = {
    curl: curl(url, type, sent, name),
    Python: python(url, type, sent, name, task),
    JavaScript: javascript(url, type, sent),
  };
  const code = el("pre", { tabIndex: 0 }, el("code", {}));
  const tabs = Object.keys(texts).map((language) => el("button", { type: "button", role: "tab", onclick: () => choose(language) }, language));
  const copy = el("button", { type: "button", className: "copy second", onclick: async () => {
    await navigator.clipboard.writeText(code.textContent).then(() => { copy.textContent = "Copied"; }, () => { copy.textContent = "Select it to copy"; });
    setTimeout(() => { copy.textContent = "Copy"; }, 1500);
  } }, "Copy");
  function choose(language) {
    code.firstChild.textContent = texts[language];
    for (const tab of tabs) {
      const chosen = tab.textContent === language;
      tab.setAttribute("aria-selected", String(chosen));
      tab.tabIndex = chosen ? 0 : -1;
    }
  }
  const list = el("div", { role: "tablist", "aria-label": "Languages" }, ...tabs);
  list.addEventListener("keydown", ({ key }) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[key];
    if (!step) return;
    const next = tabs[(tabs.findIndex((tab) => tab.tabIndex === 0) + step + tabs.length) % tabs.length];
    next.click();
    next.focus();
  });
  choose("curl");
  return el("div", { className: "snippets" }, el("div", { className: "row" }, list, copy), code);
}

function quoted(text) {
  return `'${text.replaceAll("'", String.raw`'\''`)}'`;
}

function curl(url, type, sent, name) {
  const data = sent === null ? `--data-binary ${quoted(`@${name}`)}` : `--data-binary ${quoted(sent)}`;
  return `curl ${quoted(url)} \\\n  -H ${quoted(`Content-Type: ${type}`)} \\\n  ${data}`;
}

function python(url, type, sent, name, task) {
  const answer = task.tensors ? "print(answer.json()[\"predictions\"])" : "print(answer.json()[\"results\"][0])";
  if (sent !== null && type === "application/json") return `import requests\n\nanswer = requests.post(\n    ${JSON.stringify(url)},\n    json=${pythonic(sent)},\n)\nanswer.raise_for_status()\n${answer}`;
  const data = sent === null ? `open(${JSON.stringify(name)}, "rb")` : `${JSON.stringify(sent)}.encode()`;
  return `import requests\n\nanswer = requests.post(\n    ${JSON.stringify(url)},\n    data=${data},\n    headers={"Content-Type": ${JSON.stringify(type)}},\n)\nanswer.raise_for_status()\n${answer}`;
}

/** JSON as Python writes it: the three words that differ, outside strings. */
function pythonic(text) {
  try {
    const words = { true: "True", false: "False", null: "None" };
    return JSON.stringify(JSON.parse(text)).replace(/"(?:[^"\\]|\\.)*"|true|false|null/g, (found) => words[found] ?? found);
  } catch {
    return JSON.stringify(text);
  }
}

function javascript(url, type, sent) {
  const body = sent === null ? "file, // a File or Blob" : `${type === "application/json" ? `JSON.stringify(${sent.trim()})` : JSON.stringify(sent)},`;
  return `const answer = await fetch(${JSON.stringify(url)}, {\n  method: "POST",\n  headers: { "Content-Type": ${JSON.stringify(type)} },\n  body: ${body}\n});\nconsole.log(await answer.json());`;
}
