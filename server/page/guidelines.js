// Guidelines of a collection: how they are shown, and the form that sets them.

import { h, act, button, failure, field, icon, spoken, tell } from "./dom.js";
import { call, inside } from "./api.js";

const LEAST = 2;
const MOST = 7;

let isOpen = false;

/** The text and the scale, folded; open where they were open before. */
export function guidelinesOf({ text, scale }) {
  const details = h("details", { class: "guidelines", open: isOpen, ontoggle: () => { isOpen = details.open; } },
    h("summary", {}, "Guidelines and scale"),
    h("p", { class: "text" }, text || "This collection has no guidelines yet."),
    h("ol", { class: "scale" }, scale.map(({ label }) => h("li", {}, label))));
  return details;
}

/** The form of the guidelines; `saved` is called with what is stored. */
export function guidelinesForm({ name, guidelines, reload }) {
  const text = h("textarea", { rows: 6, class: "prose", maxlength: 16384, value: guidelines.text });
  const rows = h("div", { class: "grade-rows" });
  const problem = h("div");
  const add = button("Add a grade", () => row({ label: "", grade: "" }).querySelector("input").focus());
  const count = () => {
    add.disabled = rows.children.length >= MOST;
    for (const remove of rows.querySelectorAll("button")) remove.disabled = rows.children.length <= LEAST;
  };
  const row = ({ label, grade }) => {
    const number = rows.children.length + 1;
    const line = h("div", { class: "grade-row", role: "group", "aria-label": `Grade ${number}` },
      field("Label", h("input", { value: label, required: true, maxlength: 64, autocomplete: "off" })),
      field("Grade", h("input", { type: "number", min: -1, max: 1, step: "any", value: grade, required: true })),
      button([icon("cross"), spoken("Remove this grade")], () => {
        line.remove();
        count();
      }, { class: "quiet" }));
    rows.append(line);
    count();
    return line;
  };
  guidelines.scale.forEach(row);
  const submit = h("button", { class: "primary" }, "Save guidelines");
  const save = (event) => {
    event.preventDefault();
    return act(submit, async () => {
      const scale = [...rows.children].map((line) => {
        const [label, grade] = line.querySelectorAll("input");
        return { label: label.value.trim(), grade: Number(grade.value) };
      });
      try {
        await call("PUT", inside(name, "/guidelines"), { text: text.value, scale: scale.sort((a, b) => a.grade - b.grade) });
      } catch (error) {
        problem.replaceChildren(failure(error));
        return;
      }
      tell("The guidelines are saved.");
      reload();
    });
  };
  return h("form", { onsubmit: save }, field("What those who judge are told", text), h("h3", {}, "Scale, grades from −1 (irrelevant) to 1 (relevant)"), rows,
    problem, h("div", { class: "actions" }, submit, add));
}
