// The view Collection: create, describe, add, optimize, verify.

import { h, act, button, bytes, clipped, confirmed, count, empty, facts, failure, field, load, options, percent, plural, section, table, tell } from "./dom.js";
import { call, get, inside, post, remove, running, watch } from "./api.js";
import { linesInput } from "./lines.js";

export const title = "Collection";

/** The most items of a request, so that they are encoded within its time, and about the most bytes. */
const BATCH = 256;
const BATCH_BYTES = 4_000_000;
const PAGE = 20;
/** The languages of keyword search. */
const KEYWORDS = [["", "Off"], ["simple", "As written"], ["ar", "Arabic"], ["da", "Danish"], ["nl", "Dutch"], ["en", "English"], ["fi", "Finnish"], ["fr", "French"], ["de", "German"], ["el", "Greek"],
  ["hu", "Hungarian"], ["it", "Italian"], ["no", "Norwegian"], ["pt", "Portuguese"], ["ro", "Romanian"], ["ru", "Russian"], ["es", "Spanish"], ["sv", "Swedish"], ["ta", "Tamil"], ["tr", "Turkish"]];

export function show(root, context) {
  const { info, name, signal } = context;
  if (!info) return showFirst(root, context);
  const figures = h("div");
  const items = h("div");
  const read = () => load(figures, signal, () => get(inside(name), signal), (stats) => describe(stats));
  const list = (after) => load(items, signal, () => readPage(context, after), (page) => listItems(page, after, list));
  const again = () => {
    read();
    list();
  };
  root.append(section(name, figures));
  if (context.may("write")) root.append(adding(context, again));
  root.append(section("Items", items), upkeep(context, read));
  if (context.may("write")) root.append(section("Create another collection", creating(context)));
  read();
  return list();
}

/** What is shown where the store has no collection. */
export function showFirst(root, context) {
  root.append(empty("This store has no collection yet.", h("p", {}, context.may("write") ? "Create one, add texts, and search them." : "Creating one needs a token with the role write.")));
  if (context.may("write")) root.append(section("Create a collection", creating(context)));
}

function describe(stats) {
  const recall = stats.recall.map((kind) => [kind.kind.replaceAll(/[_-]|(?=[A-Z])/g, " ").toLowerCase(), percent(kind.recall, 1), percent(kind.recall_at_1, 1), percent(kind.below_half, 1), count(kind.questions)]);
  return [
    facts([["Items", count(stats.items)], ["Dimension", count(stats.dim)], ["Distance", stats.distance], ["Precision", stats.precision],
      ["Encoder", stats.encoder?.name ?? "none: vectors are given"], ["Judgements", count(stats.judgements)],
      ["Keywords", KEYWORDS.find(([language]) => language === (stats.keywords?.language ?? ""))?.[1]],
      ["Active metric", stats.active_metric === 0 ? "Euclidean" : `version ${stats.active_metric}`],
      ["Memory", bytes(stats.memory_bytes)], ["On disk", bytes(stats.disk_bytes)], ["Whole store", bytes(stats.store_bytes)],
      ["Without a graph yet", count(stats.growing)], ["Removed, still in graphs", count(stats.deleted)]]),
    h("h3", {}, "Segments"),
    stats.segments.length > 0 ? table("Segments", ["Built under", "Items", "Size"], stats.segments.map((segment) => [segment.metric === 0 ? "Euclidean" : `version ${segment.metric}`, count(segment.items), bytes(segment.bytes)]))
      : h("p", { class: "muted" }, "None: a collection of this size is scanned."),
    h("h3", {}, "Recall by kind of question"),
    recall.length > 0 ? table("Recall by kind of question", ["Question", "Recall@10", "Nearest found", "Below half", "Measured on"], recall)
      : h("p", { class: "muted" }, stats.segments.length > 0 ? "Not measured yet: the background measures it once the graph is built." : "Not measured: small collections are scanned, which finds every neighbour."),
  ];
}

async function readPage({ name, signal }, after) {
  const query = new URLSearchParams({ limit: PAGE, vector: false, ...(after !== undefined && { after }) });
  return get(inside(name, `/items?${query}`), signal);
}

function listItems({ items, next }, after, list) {
  if (items.length === 0) return empty("No items.");
  const rows = items.map(({ id, text, meta }) => [h("code", {}, clipped(id, 80)), h("div", { class: "cell" }, clipped(text ?? "No text", 160)), meta && h("div", { class: "cell" }, h("code", {}, clipped(JSON.stringify(meta), 100)))]);
  return [table("Items", ["Id", "Text", "Metadata"], rows), h("div", { class: "actions" }, after !== undefined && button("First page", () => list()), next !== null && button("Next page", () => list(next)))].filter(Boolean);
}

function creating(context) {
  const name = h("input", { required: true, maxlength: 255, autocomplete: "off" });
  const holds = h("select", {}, options([["texts", "Texts"], ["vectors", "Vectors"]]));
  const dim = h("input", { type: "number", min: 1, max: 4096, value: 384 });
  const dimField = field("Dimension", dim);
  const distance = h("select", {}, options([["", "Default"], ["l2", "l2"], ["cosine", "cosine"], ["dot", "dot"]]));
  const precision = h("select", {}, options([["f32", "f32"], ["f16", "f16"], ["i8", "i8"]]));
  const keywords = h("select", {}, options(KEYWORDS));
  const submit = h("button", { class: "primary" }, "Create collection");
  const problem = h("div");
  const shown = () => {
    dimField.hidden = holds.value === "texts";
  };
  holds.addEventListener("change", shown);
  shown();
  const create = (event) => {
    event.preventDefault();
    return act(submit, async () => {
      const settings = { ...(holds.value === "texts" ? { encoder: "embedded" } : { dim: Number(dim.value) }), ...(distance.value && { distance: distance.value }), precision: precision.value, ...(keywords.value && { keywords: keywords.value }) };
      try {
        await call("PUT", inside(name.value), settings);
      } catch (error) {
        problem.replaceChildren(failure(error));
        return;
      }
      tell(`Collection ${name.value} is created.`);
      await context.open("collection", name.value);
    });
  };
  return h("form", { onsubmit: create }, h("div", { class: "fields" }, field("Name", name), field("It holds", holds), dimField, field("Distance", distance), field("Precision", precision), field("Keywords", keywords)), problem, h("div", { class: "actions" }, submit));
}

/** How many of the items, from one on, go into a request. */
function batch(items, from) {
  let size = 0;
  let end = from;
  while (end < items.length && end - from < BATCH && size < BATCH_BYTES) size += JSON.stringify(items[end++]).length;
  return end;
}

function adding(context, again) {
  const bar = h("progress", { hidden: true, "aria-label": "Items stored" });
  const store = async (items) => {
    bar.hidden = false;
    bar.max = items.length;
    let stored = 0;
    try {
      while (stored < items.length) {
        const end = batch(items, stored);
        await post(inside(context.name, "/items"), { items: items.slice(stored, end) }, context.signal);
        bar.value = stored = end;
      }
    } catch (error) {
      throw new Error(`${error.message} ${plural(stored, "item")} before were stored.`);
    } finally {
      bar.hidden = true;
    }
    tell(`${plural(items.length, "item")} stored.`);
    await context.reread();
    again();
  };
  const example = context.info.encoder ? '{"id": "a1", "text": "how to prune apple trees", "meta": {"lang": "en"}}' : '{"id": "a1", "vector": [0.1, 0.2], "meta": {}}';
  return section("Add items", linesInput("Items, one JSON object a line", example, "Add items", store), bar);
}

function upkeep(context, again) {
  const { name, signal, may } = context;
  const output = h("div", { "aria-live": "polite" });
  const begin = (control, kind, path, label, render) => act(control, async () => {
    output.replaceChildren();
    try {
      const job = (await running(kind, name, signal)) ?? (await post(path)).job;
      const result = await watch(output, job, label, signal);
      output.append(render(result));
      again();
    } catch (error) {
      if (error.name !== "AbortError") output.replaceChildren(failure(error));
    }
  });
  const optimize = button("Optimize", () => begin(optimize, "optimize", inside(name, "/optimize"), "Building one graph of all items", ({ items, millis }) => h("p", {}, `${plural(items, "item")} in one graph, in ${count(Math.round(millis))} ms.`)), { disabled: !may("write") });
  const verify = button("Verify the store", () => begin(verify, "verify", "/v1/verify", "Checking everything that is stored", ({ checked, problems }) =>
    problems.length > 0 ? table("Problems", ["Part", "Problem"], problems.map(({ part, message }) => [part, message])) : h("p", {}, `${count(checked)} parts checked; all is well.`)), { disabled: !may("admin") });
  const keywords = h("select", {}, options(KEYWORDS, context.info.keywords ?? ""));
  const words = button("Set keywords", () => act(words, async () => {
    await call("PUT", inside(name, "/keywords"), { language: keywords.value || null });
    tell(keywords.value ? "The texts are searched by their words too." : "The texts are searched by meaning only.");
    await context.open("collection", name);
  }), { disabled: !may("write") });
  const drop = button("Drop the collection", () => act(drop, async () => {
    if (!(await confirmed("Drop the collection?", `Its items, judgements and metrics are removed: ${name}.`, "Drop", "danger"))) return;
    await remove(inside(name));
    tell(`Collection ${name} is dropped.`);
    await context.open("collection");
  }), { class: "danger", disabled: !may("admin") });
  return section("Upkeep", h("div", { class: "actions" }, optimize, verify, drop), h("div", { class: "actions" }, field("Keywords", keywords), words), output);
}
