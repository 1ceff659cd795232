// The view Search: answers as you type, judged where they stand.

import { h, act, button, clipped, count, decimal, empty, facts, failure, field, icon, longText, options, percent, plural, signed, spoken, table, tell } from "./dom.js";
import { get, inside, post } from "./api.js";
import { guidelinesOf } from "./guidelines.js";
import { gradeButtons, gradeKeys, gradeWord, judgementsOf, keyOf, store, subjectWords, withdraw } from "./judgements.js";

export const title = "Search";

/** Milliseconds of quiet before the service is asked again, while it is being asked. */
const DEBOUNCE = 30;
/** Milliseconds of quiet before it is read what was judged for the query. */
const QUIET = 200;

const KINDS = [["query", "Text"], ["like", "Like item"], ["vector", "Vector"]];
/** What a text ranks by, in a collection with keywords. */
const RANKINGS = [["", "Meaning"], ["hybrid", "Meaning and words"], ["words_only", "Words"]];

export function show(root, context) {
  new SearchView(root, context).begin();
}

/** A metric as requests name it. */
function metricOf(value) {
  return /^\d+$/.test(value) ? Number(value) : value;
}

class SearchView {
  constructor(root, context) {
    this.root = root;
    this.context = context;
    this.name = context.name;
    this.mayJudge = context.may("judge");
    this.scale = context.guidelines.scale;
    /** What is known of each shown item: own grade, its number, grades of others. */
    this.marks = new Map();
    /** Items of which the reader cannot say anything, by query. */
    this.unsure = new Set();
    this.hits = [];
    this.writes = Promise.resolve();
    this.last = null;
  }

  begin() {
    const { query: given, info } = this.context;
    const changed = () => this.soon();
    this.kind = h("select", { onchange: () => this.changeKind() }, options(info.encoder ? KINDS : KINDS.slice(1), given.get("kind") ?? "query"));
    this.box = h("input", { id: "query", type: "search", autocomplete: "off", spellcheck: "false", value: given.get("q") ?? "", oninput: changed, onkeydown: (event) => this.boxKey(event) });
    this.filter = h("input", { type: "text", autocomplete: "off", spellcheck: "false", placeholder: '{"year": {"$gte": 2020}}', value: given.get("filter") ?? "", oninput: changed, "aria-describedby": "filter-problem" });
    this.filterProblem = h("small", { id: "filter-problem", class: "problem", "aria-live": "polite" });
    this.k = h("input", { type: "number", min: 1, max: 100, value: given.get("k") ?? 10, oninput: changed });
    this.metric = h("select", { onchange: changed }, options([["active", "Active"], ["euclidean", "Euclidean"]]));
    this.compare = h("select", { onchange: changed }, options([["", "Nothing"], ["euclidean", "Euclidean"], ["active", "Active"]]));
    this.ranking = info.keywords && h("select", { onchange: changed }, options(RANKINGS, given.get("rank") ?? ""));
    this.state = h("p", { class: "muted state", role: "status" });
    this.results = h("div", { class: "results" });
    this.root.append(
      h("form", { class: "searching", role: "search", onsubmit: (event) => this.submitted(event) },
        h("div", { class: "query-row" },
          h("label", {}, spoken("Kind of query"), this.kind),
          h("label", { class: "query" }, spoken("Query"), icon("search"), this.box)),
        h("div", { class: "options" },
          h("div", { class: "filter" }, field("Filter (JSON)", this.filter), this.filterProblem),
          field("Hits", this.k), field("Metric", this.metric), field("Beside", this.compare), this.ranking && field("Rank by", this.ranking))),
      ...(this.mayJudge ? [guidelinesOf(this.context.guidelines)] : []), this.state, this.results);
    if (this.mayJudge) this.context.onKeys("Hits", this.keys());
    else this.context.onKeys("Hits", { ...pick(this.keys(), ["j", "k", "e"]) });
    this.box.focus();
    this.readVersions(given);
    this.changeKind();
  }

  async readVersions(given) {
    try {
      const { metrics } = await get(inside(this.name, "/metrics"), this.context.signal);
      for (const { version, active, user, withdrawn } of metrics.slice(1)) {
        if (withdrawn) continue;
        const label = `Version ${version}${user ? ` (${user})` : active ? " (active)" : ""}`;
        this.metric.append(h("option", { value: version }, label));
        this.compare.append(h("option", { value: version }, label));
      }
    } catch (error) {
      if (error.name !== "AbortError") tell(error.message, "failed");
    }
    if (given.has("metric")) this.metric.value = given.get("metric");
    if (given.has("beside")) this.compare.value = given.get("beside");
    if (given.has("metric") || given.has("beside")) this.soon();
  }

  changeKind() {
    const hints = { query: "Search by text", like: "Id of an item, such as a1", vector: "[0.1, 0.2, …]" };
    this.box.placeholder = hints[this.kind.value];
    this.soon();
  }

  submitted(event) {
    event.preventDefault();
    this.soon();
    if (this.hits.length > 0) this.focusHit(0);
  }

  boxKey(event) {
    if (event.key !== "ArrowDown" || this.hits.length === 0) return;
    event.preventDefault();
    this.focusHit(0);
  }

  /** Asks soon, and drops what is being asked. */
  soon() {
    const wait = this.asking ? DEBOUNCE : 0;
    clearTimeout(this.timer);
    clearTimeout(this.marking);
    clearTimeout(this.highlighting);
    this.asking?.abort();
    this.timer = setTimeout(() => this.run(), wait);
  }

  /** The request, or null where there is nothing to ask or the fields are wrong. */
  request() {
    const text = this.box.value.trim();
    let filter;
    this.filterProblem.textContent = "";
    this.filter.removeAttribute("aria-invalid");
    try {
      filter = this.filter.value.trim() ? JSON.parse(this.filter.value) : undefined;
    } catch (error) {
      this.filter.setAttribute("aria-invalid", "true");
      this.filterProblem.textContent = `Not JSON: ${error.message}`;
      return null;
    }
    if (!text || !this.k.checkValidity() || !this.k.value) return null;
    let query = text;
    if (this.kind.value === "vector") {
      try {
        query = JSON.parse(text);
      } catch {
        return null;
      }
    }
    return {
      [this.kind.value]: query, k: Number(this.k.value), filter, explain_search: true,
      ...(this.kind.value === "query" && this.ranking?.value && { [this.ranking.value]: true }),
      metric: metricOf(this.metric.value), compare: this.compare.value ? metricOf(this.compare.value) : undefined,
    };
  }

  remember() {
    const fields = { q: this.box.value, kind: this.kind.value, filter: this.filter.value, k: this.k.value, metric: this.metric.value, beside: this.compare.value, rank: this.ranking?.value };
    const usual = { kind: "query", k: "10", metric: "active" };
    this.context.remember(Object.fromEntries(Object.entries(fields).filter(([key, value]) => value && value !== usual[key])));
  }

  async run() {
    if (this.context.signal.aborted) return;
    this.remember();
    const request = this.request();
    if (!request) return this.nothing();
    const asking = new AbortController();
    this.asking = asking;
    const { signal } = asking;
    const begun = performance.now();
    try {
      const answer = await post(inside(this.name, "/search"), request, signal);
      if (signal.aborted || this.context.signal.aborted) return;
      this.draw(request, answer, performance.now() - begun);
      // A table of PostgreSQL has no segments, and no highlights.
      if (this.context.info.segments !== undefined) this.highlighting = setTimeout(() => this.highlight(request), QUIET);
      if (this.mayJudge) this.marking = setTimeout(() => this.write(() => this.readMarks()), QUIET);
    } catch (error) {
      if (error.name === "AbortError" || this.context.signal.aborted) return;
      this.hits = [];
      this.state.textContent = "";
      this.results.replaceChildren(failure(error, () => this.run()));
    } finally {
      if (this.asking === asking) this.asking = null;
    }
  }

  /** Marks why the hits were found, once nobody types: it takes longer than finding them. */
  async highlight(request) {
    const { hits, rows } = this;
    try {
      const answer = await post(inside(this.name, "/search"), { ...request, compare: undefined, highlights: true }, this.context.signal);
      if (this.hits !== hits) return;
      const found = new Map(answer.hits.map((hit) => [hit.id, hit]));
      hits.forEach((hit, at) => {
        const { text, highlights } = found.get(hit.id) ?? {};
        if (text && text === hit.text && highlights?.length > 0) rows[at].querySelector(".content > .text").replaceWith(longText(text, highlights));
      });
    } catch {
      // The hits are shown, which is enough.
    }
  }

  nothing() {
    this.hits = [];
    this.state.textContent = "";
    const { info } = this.context;
    if (info.items === 0) {
      this.results.replaceChildren(empty("This collection holds nothing yet.", h("p", {}, h("a", { href: this.context.link("collection") }, "Add items"), " to search them.")));
    } else {
      const judging = [h("kbd", {}, "1"), " to ", h("kbd", {}, String(this.scale.length)), " judge, ", h("kbd", {}, "s"), " is “can't say”, ", h("kbd", {}, "u"), " withdraws, "];
      this.results.replaceChildren(empty(`Search ${plural(info.items, "item")}`,
        h("p", {}, "Answers come as you type. The arrow down or Enter goes to the hits; there ", h("kbd", {}, "j"), " and ", h("kbd", {}, "k"), " move, ",
          this.mayJudge && judging, "and ", h("kbd", {}, "e"), " explains.")));
    }
  }

  draw(request, answer, millis) {
    this.subject = request.vector ? { query_vector: request.vector } : request.like !== undefined ? { query_id: request.like } : { query: request.query };
    if (this.drawn !== keyOf(this.subject)) {
      this.marks = new Map();
      this.marked = null;
    }
    this.drawn = keyOf(this.subject);
    this.hits = answer.hits;
    this.current = -1;
    const metric = answer.metric === 0 ? "Euclidean" : `metric version ${answer.metric}`;
    this.state.textContent = `${plural(answer.hits.length, "hit")} · ${metric} · ${Math.round(millis)} ms, ${decimal(answer.micros / 1000, 2)} ms in the index (${answer.plan}, ${plural(answer.visited, "distance")})`;
    if (answer.hits.length === 0) {
      this.results.replaceChildren(empty("No hits.", h("p", {}, request.filter ? "No item matches the filter." : "The collection is empty.")));
      return;
    }
    this.rows = answer.hits.map((hit, at) => this.row(hit, at, answer.compared));
    if (this.mayJudge) this.hits.forEach((_, at) => this.drawJudging(at));
    const list = h("ol", { class: "hits", "aria-label": "Hits" }, this.rows);
    const beside = answer.compared && this.beside(answer);
    this.results.replaceChildren(h("div", { class: beside ? "two" : "one" }, beside ? h("div", {}, h("h2", {}, `Under ${metric}`), list) : list, beside));
  }

  beside(answer) {
    const here = new Set(answer.hits.map((hit) => hit.id));
    const row = (hit) => h("li", { class: here.has(hit.id) ? "" : "gone" }, h("span", { class: "rank" }, hit.rank),
      h("div", {}, h("p", { class: "text" }, clipped(hit.text ?? hit.id)), h("p", { class: "muted" }, h("code", {}, hit.id), ` · ${decimal(hit.distance, 4)}`, !here.has(hit.id) && " · not among the hits")));
    const metric = answer.compared.metric === 0 ? "Euclidean" : `version ${answer.compared.metric}`;
    return h("aside", { "aria-label": `Answer under ${metric}` }, h("h2", {}, `Under ${metric}`), h("ol", { class: "hits compact" }, answer.compared.hits.map(row)));
  }

  row(hit, at, compared) {
    const judging = h("div", { class: "judging" });
    const why = h("div", { class: "why", hidden: true });
    const explain = button("Why", () => this.explain(at), { class: "quiet", "aria-expanded": "false", title: "Why this rank (e)" });
    const meta = Object.entries(hit.meta ?? {}).map(([key, value]) => h("span", { class: "chip" }, `${clipped(key, 60)}: `, clipped(typeof value === "string" ? value : JSON.stringify(value), 100)));
    return h("li", { class: "hit", tabindex: "-1", onfocus: () => { this.current = at; }, onfocusin: () => { this.current = at; } },
      h("span", { class: "rank" }, spoken("Rank "), hit.rank, compared && move(hit.moved)),
      h("div", { class: "content" },
        hit.text === null ? h("p", { class: "text muted" }, "No text") : longText(hit.text, hit.highlights),
        h("p", { class: "muted details" }, h("code", {}, hit.id), h("span", {}, `distance ${decimal(hit.distance, 4)}`), h("span", {}, `score ${decimal(hit.score, 4)}`), hit.keyword_score !== undefined && h("span", {}, `words ${decimal(hit.keyword_score, 2)}`), hit.memory !== undefined && h("span", {}, `judged ${signed(-hit.memory, 4)}`), meta),
        why),
      h("div", { class: "side" }, judging, explain));
  }

  /** Reads what was judged before for this query, once. It takes its turn among the writes. */
  async readMarks() {
    const { drawn } = this;
    if (this.marked === drawn) return;
    try {
      const judged = await judgementsOf(this.name, this.subject, this.context.signal);
      if (this.drawn !== drawn) return;
      const marks = new Map();
      for (const { item, grade, user, sequence } of judged) {
        const mark = marks.get(item) ?? { others: [] };
        if ((user ?? null) === this.context.user) Object.assign(mark, { grade, sequence });
        else mark.others.push({ grade, user });
        marks.set(item, mark);
      }
      this.marks = marks;
      this.marked = drawn;
      this.hits.forEach((_, at) => this.drawJudging(at));
    } catch (error) {
      if (error.name !== "AbortError") tell(error.message, "failed");
    }
  }

  mark(at) {
    return this.marks.get(this.hits[at].id) ?? { others: [] };
  }

  drawJudging(at) {
    const { id } = this.hits[at];
    const mark = this.mark(at);
    const judging = this.rows[at].querySelector(".judging");
    const pressed = [...judging.querySelectorAll("button")].indexOf(document.activeElement);
    const isUnsure = this.unsure.has(this.drawn + id);
    const own = mark.grade !== undefined ? gradeWord(this.scale, mark.grade) : isUnsure ? "Can't say" : null;
    judging.replaceChildren(
      gradeButtons(this.scale, id, mark.grade, (grade) => this.judge(at, grade)),
      h("p", { class: "verdict" }, own,
        own && button([icon("undo"), spoken(`Withdraw the judgement of ${id}`)], () => this.undo(at), { class: "quiet", title: "Withdraw (u)" }),
        mark.others.length > 0 && h("span", { class: "muted" }, ` Others: ${others(mark.others)}`)));
    if (pressed >= 0) judging.querySelectorAll("button")[pressed]?.focus();
  }

  /** Writes one after the other, so that a quick second grade replaces the first. */
  write(work) {
    this.writes = this.writes.then(() => act(null, work));
    return this.writes;
  }

  judge(at, grade) {
    const { id, rank } = this.hits[at];
    const { subject } = this;
    const shown = this.hits.map((hit) => hit.id);
    return this.write(async () => {
      if (keyOf(subject) === this.drawn) await this.readMarks();
      const mark = this.marks.get(id) ?? { others: [] };
      if (mark.grade === grade) return;
      if (mark.sequence !== undefined && (await withdraw(this.name, mark.sequence)) === null) return;
      const sequence = await store(this.name, { ...subject, item: id, grade, shown });
      this.last = { id, key: keyOf(subject) };
      this.unsure.delete(keyOf(subject) + id);
      tell(`Rank ${rank}: ${gradeWord(this.scale, grade)}`);
      this.changed(subject, id, { ...mark, grade, sequence });
    });
  }

  changed(subject, id, mark) {
    if (keyOf(subject) !== this.drawn) return;
    this.marks.set(id, mark);
    const at = this.hits.findIndex((hit) => hit.id === id);
    if (at >= 0) this.drawJudging(at);
  }

  /** Withdraws the judgement of a hit, or where there is none, the last that was given here. */
  undo(at) {
    const { subject, drawn: key } = this;
    const here = this.hits[at]?.id;
    return this.write(async () => {
      if (key !== this.drawn) return undefined;
      await this.readMarks();
      const own = (id) => id !== undefined && (this.marks.get(id)?.sequence !== undefined || this.unsure.has(key + id));
      const id = [here, this.last?.key === key ? this.last.id : undefined].find(own);
      if (id === undefined) return tell("There is no judgement of yours to withdraw here.");
      const { sequence, others: rest = [] } = this.marks.get(id) ?? {};
      if (sequence !== undefined) {
        const followed = await withdraw(this.name, sequence);
        if (followed === null) return undefined;
        tell(followed.withdrawn.length > 0 ? `Withdrawn, with version ${followed.withdrawn.join(", ")}. Version ${followed.active} is active.` : "The judgement is withdrawn.");
      } else tell("Open again.");
      this.unsure.delete(key + id);
      return this.changed(subject, id, { others: rest });
    });
  }

  cannotSay(at) {
    const { id } = this.hits[at];
    if (this.mark(at).sequence !== undefined) return tell("It is judged; withdraw that first.");
    this.unsure.add(this.drawn + id);
    tell(`Rank ${this.hits[at].rank}: can't say. Nothing is stored.`);
    return this.drawJudging(at);
  }

  async explain(at) {
    const row = this.rows[at];
    const why = row.querySelector(".why");
    const toggle = row.querySelector("[aria-expanded].quiet");
    why.hidden = !why.hidden;
    toggle.setAttribute("aria-expanded", String(!why.hidden));
    if (why.hidden) return;
    const { query_id: like, query_vector: vector, query } = this.subject;
    try {
      const told = await post(inside(this.name, "/explain"), { query, like, vector, item: this.hits[at].id, metric: metricOf(this.metric.value) }, this.context.signal);
      why.replaceChildren(...this.reasons(told));
      tell(`Rank ${told.rank}, under Euclidean ${told.euclidean_rank ?? "beyond 1,000"}`);
    } catch (error) {
      if (error.name !== "AbortError") why.replaceChildren(failure(error));
    }
  }

  reasons(told) {
    const largest = Math.max(...told.directions.map((direction) => direction.share), 0.001);
    const share = (direction) => h("span", {}, h("meter", { min: 0, max: largest, value: Math.max(0, direction.share), "aria-label": "Share" }), ` ${percent(direction.share, 1)}`);
    const directions = told.directions.slice(0, 8).map((direction, at) => [String(at + 1), decimal(direction.weight), decimal(direction.contribution, 4), share(direction)]);
    const rows = (influences) => influences.slice(0, 8).map((influence) => {
      const what = h("span", {}, `Judgement ${influence.judgement}`);
      if (this.mayJudge) this.nameJudgement(what, influence.judgement);
      return [what, signed(influence.influence, 4), influence.influence < 0 ? "nearer" : "farther"];
    });
    const [influences, memory] = [rows(told.judgements), rows(told.memory)];
    const columns = ["Judgement", "Influence", "Brought it"];
    return [
      facts([["Distance", decimal(told.distance, 4)], ["Euclidean", decimal(told.euclidean, 4)], ["Rank", told.rank ?? "beyond 1,000"], ["Euclidean rank", told.euclidean_rank ?? "beyond 1,000"], ["Metric", told.metric === 0 ? "Euclidean" : `version ${told.metric}`]]),
      memory.length > 0 && h("h2", {}, "Judgements of questions like this one"),
      memory.length > 0 && table("Judgements of questions like this one", columns, memory),
      told.words && h("h2", {}, "Words"),
      told.words && facts([["Rank by words", told.words.rank ?? "beyond 1,000"], ["Rank by words and meaning", told.words.hybrid_rank ?? "beyond 1,000"], ["Score", `closeness ${decimal(told.words.closeness)} + ${decimal(told.words.weight)} × words ${decimal(told.words.share)}`], ["Found in the text", told.words.found.slice(0, 8).map((found) => `${found.words} ${decimal(found.score)}`).join(", ") || "none of them"]]),
      h("h2", {}, "Directions of the metric"), table("Directions of the metric", ["Direction", "Weight", "Contribution", "Share"], directions),
      h("h2", {}, "Judgements"),
      influences.length > 0 ? table("Influence of judgements", columns, influences)
        : h("p", { class: "muted" }, told.metric === 0 ? "The metric is Euclidean: nothing was learned for it." : "No judgement has a known influence."),
      told.stale && h("p", { class: "muted" }, `The influence of ${plural(told.stale, "judgement")} is not known, since what they judged has changed.`),
    ].filter(Boolean);
  }

  async nameJudgement(element, number) {
    try {
      const before = number > 0 ? `after=${number - 1}&` : "";
      const { judgements: [judgement] } = await get(inside(this.name, `/judgements?${before}limit=1`), this.context.signal);
      if (judgement?.sequence !== number) return;
      const what = judgement.a !== undefined ? `${judgement.a} and ${judgement.b}: ${judgement.similar ? "similar" : "not similar"}`
        : `${clipped(subjectWords(judgement), 60)} → ${judgement.item}: ${gradeWord(this.scale, judgement.grade)}`;
      element.append(h("br"), h("span", { class: "muted" }, what));
    } catch {
      // Its number is shown, which is enough.
    }
  }

  focusHit(at) {
    const within = Math.max(0, Math.min(at, this.hits.length - 1));
    this.rows[within]?.focus();
    this.rows[within]?.scrollIntoView({ block: "nearest" });
  }

  keys() {
    const onHit = (work) => () => {
      if (this.hits.length === 0) return;
      if (this.current < 0) this.focusHit(0);
      work(this.current);
    };
    return {
      j: ["Next hit", () => this.hits.length > 0 && this.focusHit(this.current + 1)],
      k: ["Previous hit", () => this.hits.length > 0 && this.focusHit(this.current - 1)],
      ...gradeKeys(this.scale, (grade) => onHit((at) => this.judge(at, grade))()),
      s: ["Can't say", onHit((at) => this.cannotSay(at))],
      u: ["Withdraw the judgement", () => this.undo(this.current)],
      e: ["Why this rank", onHit((at) => this.explain(at))],
    };
  }
}

function pick(object, keys) {
  return Object.fromEntries(keys.map((key) => [key, object[key]]));
}

/** The grades of other people, counted. */
function others(grades) {
  const relevant = grades.filter(({ grade }) => grade > 0).length;
  return `${count(relevant)} relevant, ${count(grades.length - relevant)} not`;
}

/** By how many ranks a hit moved. */
function move(moved) {
  if (moved === null) return h("span", { class: "move up" }, "new");
  if (moved === 0) return h("span", { class: "move" }, "=", spoken(" same rank"));
  const way = moved > 0 ? "up" : "down";
  return h("span", { class: `move ${way}` }, icon(way), Math.abs(moved), spoken(moved > 0 ? " ranks higher" : " ranks lower"));
}
