// Import and export of judgements.

import { h, act, button, count, failure, field, options, plural, section, tell } from "./dom.js";
import { inside, post } from "./api.js";
import { keyOf, readJudgements, subjectOf } from "./judgements.js";

const IMPORTED = [["", "By its first line"], ["jsonl", "JSON lines"], ["qrels", "TREC qrels"], ["beir", "BEIR qrels"], ["csv", "csv: Quepid, or the columns below"], ["ubi", "UBI events"]];
const EXPORTED = [["jsonl", "JSON lines, all of them"], ["qrels", "TREC qrels"], ["beir", "BEIR qrels"], ["topics", "Topics of the qrels"], ["csv", "Quepid csv"]];

/** Both forms; `again` is called after an import. */
export function exchange(context, again) {
  return section("Import and export", context.may("judge") && importing(context, again), h("h3", {}, "Export"), exporting(context));
}

function importing({ name }, again) {
  const text = h("textarea", { rows: 4, spellcheck: "false", placeholder: '{"query": "apple trees", "item": "a1", "relevant": true}' });
  const [file, queries] = [0, 0].map(() => h("input", { type: "file" }));
  const format = h("select", {}, options(IMPORTED));
  const scale = h("input", { type: "number", min: 0, step: "any" });
  const columns = ["query", "item", "grade"].map((role) => [role, h("input", { autocomplete: "off" })]);
  const skip = h("input", { type: "checkbox" });
  const outcome = h("div", { "aria-live": "polite" });
  const submit = h("button", { class: "primary" }, "Import judgements");
  const send = (event) => {
    event.preventDefault();
    return act(submit, async () => {
      const named = columns.filter(([, input]) => input.value.trim());
      outcome.replaceChildren();
      try {
        if (named.length % 3) throw new Error("A csv with named columns needs all three names.");
        const told = await post(inside(name, "/judgements/import"), {
          file: file.files[0] ? await file.files[0].text() : text.value, format: format.value || undefined,
          queries: queries.files[0] && await queries.files[0].text(), scale: scale.value ? Number(scale.value) : undefined,
          columns: named.length ? Object.fromEntries(named.map(([role, input]) => [role, input.value])) : undefined, skip_unknown: skip.checked,
        });
        tell(`${plural(told.stored, "judgement")} stored.`);
        if (told.left_out) told.notes.push(`${plural(told.left_out, "judgement")} of unknown items left out: ${told.unknown.join(", ")}`);
        outcome.replaceChildren(...told.notes.map((note) => h("p", { class: "muted" }, note)));
        text.value = file.value = queries.value = "";
        again();
      } catch (error) {
        outcome.replaceChildren(failure({ title: "Nothing of it was stored", message: error.message }));
      }
    });
  };
  return h("form", { onsubmit: send }, field("Judgements", text), h("div", { class: "fields" }, field("Or a file", file), field("Format", format)),
    h("details", {}, h("summary", {}, "Options"),
      h("div", { class: "fields" }, field("File of queries", queries, "Texts of topics, or UBI's queries"), field("Highest grade", scale, "The highest in the file by default"), columns.map(([role, input]) => field(`Column of the ${role}`, input, "Of a csv"))),
      h("label", { class: "check" }, skip, "Leave out judgements of unknown items")),
    outcome, h("div", { class: "actions" }, submit));
}

function exporting(context) {
  const format = h("select", {}, options(EXPORTED));
  const save = button("Export", () => act(save, async () => {
    const judgements = await readJudgements(context.name, context.signal);
    const { lines, left, ending } = format.value === "jsonl" ? whole(judgements) : rated(judgements, format.value, context.guidelines.scale);
    const link = h("a", { href: URL.createObjectURL(new Blob(lines.map((line) => `${line}\n`))), download: `${context.name}.${ending}` });
    link.click();
    URL.revokeObjectURL(link.href);
    tell(`${plural(lines.length, "line")} exported.${left ? ` ${count(left)} judgements have no place in this format.` : ""}`);
  }));
  return h("div", { class: "stack" }, h("div", { class: "fields" }, field("Export as", format), save),
    h("p", { class: "muted" }, "The other formats hold what people judged explicitly, the newest grade of each query and item: 0 for irrelevant, and the positive grades of the scale as 1, 2 and so on. Queries by text are numbered there; export their topics, too."));
}

function whole(judgements) {
  return { lines: judgements.map(({ sequence, teaches, changed, gone, ...judgement }) => JSON.stringify(judgement)), left: 0, ending: "judgements.jsonl" };
}

const quoted = (text) => (/[",\n\r]/.test(text) || text !== text.trim() ? `"${text.replaceAll('"', '""')}"` : text);

/** The newest explicit grade of each query and item as lines of a format, and how many judgements have no place in it. */
function rated(judgements, format, scale) {
  const steps = scale.filter(({ grade }) => grade > 0).length;
  const topics = new Map();
  const newest = new Map();
  let left = 0;
  // Stored items that are queries are topics by their ids; texts get numbers that no id has.
  const taken = new Set(judgements.map(({ query_id: id }) => id));
  let next = 1;
  const topicOf = (text) => {
    if (!topics.has(text)) {
      while (taken.has(String(next))) next += 1;
      topics.set(text, String(next++));
    }
    return topics.get(text);
  };
  const fits = { qrels: (topic, item) => !/\s/.test(topic + item), beir: (topic, item) => !/[\t\n\r]/.test(topic + item) }[format] ?? (() => true);
  for (const judgement of judgements) {
    const { query, query_id: id, item, grade, source } = judgement;
    const byText = query !== undefined;
    const topic = byText ? topicOf(query) : id;
    const isText = format === "csv" || format === "topics";
    if (source !== "explicit" || topic === undefined || (isText && !byText) || !fits(topic, item ?? "")) left += 1;
    else newest.set(keyOf([subjectOf(judgement), item]), { query, topic, item, grade: grade > 0 ? Math.max(1, Math.round(grade * steps)) : 0 });
  }
  const rows = [...newest.values()];
  if (format === "csv") return { lines: ["query,docid,rating", ...rows.map((row) => [quoted(row.query), quoted(row.item), row.grade].join(","))], left, ending: "quepid.csv" };
  if (format === "beir") return { lines: ["query-id\tcorpus-id\tscore", ...rows.map((row) => `${row.topic}\t${row.item}\t${row.grade}`)], left, ending: "qrels.tsv" };
  if (format === "qrels") return { lines: rows.map((row) => `${row.topic} 0 ${row.item} ${row.grade}`), left, ending: "qrels" };
  return { lines: [...topics].map(([text, topic]) => JSON.stringify({ _id: topic, text })), left: 0, ending: "topics.jsonl" };
}
