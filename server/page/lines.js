// A form for JSON lines, pasted or from a file.

import { h, act, failure, field } from "./dom.js";

/** The objects of JSON lines. */
function parseLines(text) {
  return text.split("\n").flatMap((line, at) => {
    if (!line.trim()) return [];
    try {
      return [JSON.parse(line)];
    } catch (error) {
      throw new Error(`Line ${at + 1} is not JSON: ${error.message}`);
    }
  });
}

/** The form; `store` takes the objects. What is stored is cleared from the form. */
export function linesInput(label, example, action, store) {
  const text = h("textarea", { rows: 4, spellcheck: "false", placeholder: example });
  const file = h("input", { type: "file", accept: ".jsonl,.ndjson,.json,.txt" });
  const problem = h("div");
  const submit = h("button", { class: "primary" }, action);
  const send = (event) => {
    event.preventDefault();
    return act(submit, async () => {
      problem.replaceChildren();
      try {
        const lines = parseLines(file.files[0] ? await file.files[0].text() : text.value);
        if (lines.length === 0) throw new Error("There are no lines.");
        await store(lines, problem);
        text.value = file.value = "";
      } catch (error) {
        problem.replaceChildren(failure({ title: "Nothing more was stored", message: error.message }));
      }
    });
  };
  return h("form", { onsubmit: send }, field(label, text), field("Or a file", file), problem, h("div", { class: "actions" }, submit));
}
