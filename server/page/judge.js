// The view Judge: questions that decide, what was judged, guidelines, import and export.

import { h, act, button, clipped, count, decimal, empty, facts, icon, load, percent, section, spoken, table, tell, when } from "./dom.js";
import { get, inside, post } from "./api.js";
import { exchange } from "./exchange.js";
import { guidelinesForm, guidelinesOf } from "./guidelines.js";
import { gradeButtons, gradeKeys, gradeWord, keyOf, readJudgements, subjectOf, subjectWords, withdraw } from "./judgements.js";

export const title = "Judge";

/** The most queries whose answers are looked at for the coverage. */
const COVERED = 100;

export function show(root, context) {
  if (!context.may("judge")) {
    root.append(empty("Judging needs a token with the role judge."));
    return;
  }
  const asked = h("div");
  const judged = h("div");
  root.append(section("Questions that decide", asked), section("Judged queries", judged), exchange(context, () => showJudged(judged, context)));
  if (context.may("write")) root.append(section("Guidelines", guidelinesForm(context)));
  load(asked, context.signal, () => get(inside(context.name, "/ask"), context.signal), ({ questions }) => queue(questions, context));
  showJudged(judged, context);
}

/** The open questions, one at a time. */
function queue(questions, context) {
  if (questions.length === 0) {
    return empty("No open questions.", h("p", {}, "A refit that cannot decide can ask for the judgements that would: choose “Ask questions” at the ", h("a", { href: context.link("learn") }, "refit"), "."));
  }
  const box = h("div", { class: "question" });
  const { scale } = context.guidelines;
  const answers = questions.map(() => null);
  let at = 0;
  const draw = () => {
    const { query_id: query, item, query_text: queryText, item_text: itemText } = questions[at];
    const done = answers.filter((answer) => answer !== null).length;
    box.replaceChildren(
      h("p", { class: "muted" }, `Question ${at + 1} of ${questions.length}, ${done} answered`),
      h("div", { class: "pair" },
        h("div", {}, h("h3", {}, "Query"), h("p", { class: "text" }, queryText ?? "No text"), h("code", {}, query)),
        h("div", {}, h("h3", {}, "Is this relevant to it?"), h("p", { class: "text" }, itemText ?? "No text"), h("code", {}, item))),
      h("div", { class: "actions" }, gradeButtons(scale, item, answers[at]?.grade, answer),
        answers[at] && h("span", {}, gradeWord(scale, answers[at].grade)),
        button("Can't say", () => move(1), { title: "Next question (s)" }),
        button("Withdraw", undo, { disabled: !answers[at], title: "Withdraw (u)" })));
  };
  const move = (step) => {
    at = (at + step + questions.length) % questions.length;
    draw();
    tell(`Question ${at + 1} of ${questions.length}`);
  };
  let writes = Promise.resolve();
  const write = (work) => {
    writes = writes.then(() => act(null, work));
  };
  const answer = (grade) => write(async () => {
    const here = at;
    if (answers[here]) return tell("It is answered; withdraw that first.");
    const { query_id: query, item } = questions[here];
    const { first } = await post(inside(context.name, "/ask"), { answers: [{ query_id: query, item, grade, at: new Date().toISOString() }] });
    answers[here] = { grade, sequence: first };
    const open = answers.indexOf(null, here) >= 0 ? answers.indexOf(null, here) : answers.indexOf(null);
    if (open < 0) {
      tell("All questions are answered: refit to decide.");
      return draw();
    }
    return move(open - here);
  });
  const undo = () => write(async () => {
    if (!answers[at] || (await withdraw(context.name, answers[at].sequence)) === null) return;
    answers[at] = null;
    tell("Withdrawn: the question is open again.");
    draw();
  });
  context.onKeys("Questions", { j: ["Next question", () => move(1)], k: ["Previous question", () => move(-1)], ...gradeKeys(scale, answer), s: ["Can't say", () => move(1)], u: ["Withdraw the answer", undo] });
  draw();
  return [guidelinesOf(context.guidelines), box];
}

/** Judgements of one query together. */
function group(judgements) {
  const groups = new Map();
  for (const judgement of judgements) {
    const subject = subjectOf(judgement);
    const key = keyOf(subject);
    if (!groups.has(key)) groups.set(key, { subject, judgements: [] });
    groups.get(key).judgements.push(judgement);
  }
  return [...groups.values()].reverse();
}

const isRelevant = (judgement) => judgement.similar ?? judgement.grade > 0;

/** Items that people judged both ways. */
function disputed({ judgements }) {
  const ways = new Map();
  for (const judgement of judgements) {
    const item = judgement.item ?? judgement.b;
    ways.set(item, (ways.get(item) ?? new Set()).add(isRelevant(judgement)));
  }
  return [...ways].filter(([, set]) => set.size > 1).map(([item]) => item);
}

/** How many of the first ten hits of each query are judged; null where that was not asked. */
async function coverage(groups, context) {
  const asked = groups.filter(({ subject }) => subject.a === undefined).slice(0, COVERED);
  if (asked.length === 0) return new Map();
  const queries = asked.map(({ subject: { query, query_id: like, query_vector: vector } }) => ({ query, like, vector }));
  try {
    const { answers } = await post(inside(context.name, "/search"), { queries, k: 10, include: [] }, context.signal);
    return new Map(answers.map(({ hits }, at) => {
      const judged = new Set(asked[at].judgements.map((judgement) => judgement.item));
      return [asked[at], [hits.filter((hit) => judged.has(hit.id)).length, hits.length]];
    }));
  } catch (error) {
    if (error.name === "AbortError") throw error;
    // An item that is a query may be gone; the judgements are shown all the same.
    return new Map();
  }
}

function showJudged(container, context) {
  const read = async () => {
    const groups = group(await readJudgements(context.name, context.signal));
    return { groups, covered: await coverage(groups, context) };
  };
  load(container, context.signal, read, ({ groups, covered }) => {
    if (groups.length === 0) return empty("Nothing is judged yet.", h("p", {}, h("a", { href: context.link("search") }, "Search"), " and judge the hits, or import judgements below."));
    return judgedQueries(groups, covered, context, () => showJudged(container, context));
  });
}

function judgedQueries(groups, covered, context, again) {
  const all = groups.flatMap((entry) => entry.judgements);
  const both = groups.filter((entry) => new Set(entry.judgements.map(isRelevant)).size > 1).length;
  const hits = [...covered.values()].reduce(([judged, of], [j, n]) => [judged + j, of + n], [0, 0]);
  const detail = h("div", { class: "detail" });
  const row = (entry) => {
    const { subject, judgements } = entry;
    const relevant = judgements.filter(isRelevant).length;
    const people = new Set(judgements.map((judgement) => judgement.user ?? "anonymous"));
    const open = button(clipped(subjectWords(subject), 90), () => showDetail(detail, entry, context, again), { class: "link" });
    const dispute = disputed(entry).length;
    return [h("div", { class: "cell" }, open, dispute > 0 && h("span", { class: "badge warn" }, `${dispute} disputed`)),
      count(relevant), count(judgements.length - relevant), covered.has(entry) ? covered.get(entry).join(" of ") : null, [...people].join(", "), when(judgements.at(-1).at)];
  };
  return [
    facts([["Judgements", count(all.length)], ["Queries", count(groups.length)], ["With both kinds of answers", `${both} of ${groups.length}`],
      ["First hits judged", hits[1] > 0 ? `${percent(hits[0] / hits[1])} of ${count(hits[1])}` : null],
      ["Disputed between people", count(groups.reduce((sum, entry) => sum + disputed(entry).length, 0))],
      ["Teach nothing now", count(all.filter((judgement) => !judgement.teaches).length)]]),
    h("p", { class: "muted" }, "The gate tests on queries with both kinds of answers: judge some hits irrelevant, too."),
    table("Judged queries", ["Query", "Relevant", "Irrelevant", "First 10 judged", "Who", "When"], groups.slice(0, 200).map(row)),
    groups.length > 200 && h("p", { class: "muted" }, `The newest 200 of ${count(groups.length)} are shown; the export has all.`),
    detail,
  ].filter(Boolean);
}

async function showDetail(container, { subject, judgements }, context, again) {
  const ids = [...new Set(judgements.map((judgement) => judgement.item ?? judgement.b))];
  const words = subjectWords(subject);
  const title = h("h3", { tabindex: "-1" }, clipped(words, 200));
  const kind = subject.query_id !== undefined ? { kind: "like", q: subject.query_id } : { q: subject.query };
  const body = h("div");
  container.replaceChildren(title, body);
  if (kind.q !== undefined) title.after(h("p", {}, h("a", { href: context.link("search", kind) }, "Search it and judge more")));
  title.focus();
  const read = async () => {
    const answers = await Promise.all(ids.map((id) => post(inside(context.name, "/get"), { ids: [id] }, context.signal).catch(() => ({ items: [{ id, text: null }] }))));
    return new Map(answers.flatMap(({ items }) => items).map((item) => [item.id, item.text]));
  };
  load(body, context.signal, read, (texts) => table(`Judgements of ${words}`, ["Item", "Judgement", "Who", "When", "Source", "Withdraw"], judgements.map((judgement) => {
    const id = judgement.item ?? judgement.b;
    const state = judgement.teaches ? null : h("span", { class: "badge warn" }, judgement.gone?.length ? "gone: teaches nothing" : "changed: teaches nothing");
    const withdrawing = button([icon("undo"), spoken(`Withdraw judgement ${judgement.sequence}`)], () => act(withdrawing, async () => {
      if ((await withdraw(context.name, judgement.sequence)) === null) return;
      tell(`Judgement ${judgement.sequence} is withdrawn.`);
      again();
    }), { class: "quiet" });
    const verdict = judgement.similar === undefined ? gradeWord(context.guidelines.scale, judgement.grade) : judgement.similar ? "Similar" : "Not similar";
    return [h("div", { class: "cell" }, clipped(texts.get(id) ?? "No text", 200), h("br"), h("code", {}, id), state),
      h("span", { class: isRelevant(judgement) ? "good" : "bad" }, verdict), judgement.user ?? "anonymous", when(judgement.at),
      `${judgement.source}${judgement.weight === 1 ? "" : `, weight ${decimal(judgement.weight, 2)}`}`, withdrawing];
  })));
}
