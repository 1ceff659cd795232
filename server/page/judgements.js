// Judgements: the grades of a scale, storing and withdrawing, and reading them.

import { h, button, confirmed, decimal, icon, spoken } from "./dom.js";
import { get, inside, post, remove, url } from "./api.js";

/** The grade in the words of a scale. */
export function gradeWord(scale, grade) {
  const named = scale.find((entry) => entry.grade === grade);
  return named ? named.label : grade === 0 ? "Neutral" : `${grade > 0 ? "Relevant" : "Irrelevant"} (${decimal(grade, 2)})`;
}

/** What the keys of the grades do, from 1 on. */
export function gradeKeys(scale, judge) {
  return Object.fromEntries(scale.map(({ grade, label }, at) => [at + 1, [label, () => judge(grade)]]));
}

const kindOf = (grade) => (grade > 0 ? "good" : grade < 0 ? "bad" : "neutral");

/** The buttons of a scale, the given grade pressed. */
export function gradeButtons(scale, of, pressed, onGrade) {
  const face = (at) => (at === 0 ? icon("thumb-down") : at === scale.length - 1 ? icon("thumb-up") : String(at + 1));
  return h("div", { class: "grades", role: "group", "aria-label": `Judge ${of}` }, scale.map(({ grade, label }, at) =>
    button([face(at), spoken(label)], () => onGrade(grade), { class: kindOf(grade), "aria-pressed": String(grade === pressed), title: `${label} (${at + 1})` })));
}

/** The queries that have a relevant answer, as an evaluation takes them. */
export function evaluated(judgements) {
  const queries = new Map();
  for (const judgement of judgements) {
    if (judgement.a !== undefined || judgement.grade <= 0) continue;
    const subject = subjectOf(judgement);
    const key = keyOf(subject);
    if (!queries.has(key)) queries.set(key, { ...subject, relevant: {} });
    queries.get(key).relevant[judgement.item] = judgement.grade;
  }
  return [...queries.values()];
}

/** What was judged, without the answer. */
export function subjectOf(judgement) {
  for (const field of ["query", "query_id", "query_vector"]) {
    if (judgement[field] !== undefined) return { [field]: judgement[field] };
  }
  return { a: judgement.a };
}

/** A key for a query. */
export function keyOf(subject) {
  return JSON.stringify(subject);
}

/** The query in words. */
export function subjectWords(subject) {
  if (subject.query !== undefined) return subject.query;
  if (subject.query_id !== undefined) return `Like ${subject.query_id}`;
  if (subject.query_vector !== undefined) return `Vector [${subject.query_vector.slice(0, 4).join(", ")}, …]`;
  return `Pairs with ${subject.a}`;
}

/** All judgements of a collection, or those that the parameters name. */
export async function readJudgements(name, signal, parameters = {}) {
  const all = [];
  let after = null;
  do {
    const query = new URLSearchParams({ limit: 10000, ...parameters, ...(after !== null && { after }) });
    const page = await get(inside(name, `/judgements?${query}`), signal);
    all.push(...page.judgements);
    after = page.next;
  } while (after !== null);
  return all;
}

/** The judgements of a query, in the order in which they were given. */
export async function judgementsOf(name, subject, signal) {
  // The service does not select by vectors.
  const { query, query_id: id } = subject;
  const parameters = { ...(query !== undefined && { query }), ...(id !== undefined && { query_id: id }) };
  const judged = await readJudgements(name, signal, parameters);
  return judged.filter((judgement) => keyOf(subjectOf(judgement)) === keyOf(subject));
}

/** Stores a judgement and gives its number. */
export async function store(name, judgement) {
  const { first } = await post(inside(name, "/judgements"), { judgements: [{ ...judgement, at: new Date().toISOString() }] });
  return first;
}

/**
 * Withdraws a judgement. Versions that learned from it are withdrawn with it, so that is asked
 * first. Gives what followed, or null where the reader thought better of it.
 */
export async function withdraw(name, sequence) {
  const [{ refits }, { metrics }] = await Promise.all([get(inside(name, "/drift")), get(inside(name, "/metrics"))]);
  const withdrawn = new Set(metrics.filter((version) => version.withdrawn).map((version) => version.version));
  const learned = refits.filter((refit) => refit.newest !== null && refit.newest >= sequence && !withdrawn.has(refit.version)).map((refit) => refit.version);
  if (learned.length > 0) {
    const versions = `version${learned.length === 1 ? "" : "s"} ${learned.join(", ")}`;
    const text = `Judgement ${sequence} may have taught ${versions}. Withdrawing it also withdraws ${learned.length === 1 ? "that version" : "these versions"}, and learns anew without it.`;
    if (!(await confirmed("Withdraw the judgement?", text, "Withdraw", "danger"))) return null;
  }
  return remove(inside(name, url`/judgements/${sequence}`));
}
