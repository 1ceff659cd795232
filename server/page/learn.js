// The view Learn: refit, the gate's verdict, versions, what moved, drift and trial.

import { h, act, button, clipped, confirmed, count, decimal, empty, facts, failure, field, icon, load, options, percent, plural, section, signed, table, tell, when } from "./dom.js";
import { get, inside, post, remove, running, url, watch } from "./api.js";
import { chart } from "./chart.js";
import { evaluated, readJudgements, subjectWords } from "./judgements.js";
import { timeline } from "./timeline.js";

export const title = "Learn";

const LEARNERS = [["", "The plugin's choice"], ...["gmml", "diagonal", "low-rank", "contrastive", "hinge"].map((name) => [name, name])];
const METRICS = "/metrics";

const named = (version) => (version === 0 ? "Euclidean" : `Version\u00a0${version}`);
const inSentence = (version) => named(version).replace("Version", "version");

export function show(root, context) {
  const versions = h("div");
  const moved = h("div");
  const happened = h("div");
  const watched = h("div");
  const again = () => {
    showVersions(versions, moved, context, again);
    showHappened(happened, context);
    showWatched(watched, context, again);
  };
  const compare = (from, to) => showMoved(moved, from, to, context);
  root.append(refitting(context, again, compare), section("Versions", versions), section("What moved between two versions", moved), section("Timeline", happened), section("Drift and trial", watched));
  again();
}

/** The form of a refit, its progress, and its verdict. */
function refitting(context, again, compare) {
  const { name, signal } = context;
  if (!context.may("write")) return section("Refit", empty("A refit needs a token with the role write."));
  const check = (label) => {
    const box = h("input", { type: "checkbox" });
    return [box, h("label", { class: "check" }, box, label)];
  };
  const number = (attributes) => h("input", { type: "number", ...attributes });
  const [dry, dryField] = check("Dry run: learn and test, store nothing");
  const [ask, askField] = check("Ask questions if the gate cannot decide");
  const [force, forceField] = check("Promote whatever the gate says");
  const questions = number({ min: 2, max: 1000, value: 30 });
  const learner = h("select", {}, options(LEARNERS));
  const user = h("input", { autocomplete: "off" });
  const halfLife = number({ min: 0, step: "any" });
  const seed = number({ min: 0, step: 1 });
  const submit = h("button", { class: "primary" }, "Refit");
  const output = h("div", { class: "outcome", tabindex: "-1" });
  const follow = (job, isDry, isForced) => act(submit, async () => {
    try {
      const result = await watch(output, job, isDry ? "Dry run" : "Refit", signal);
      output.replaceChildren(...verdict(result, { isDry, isForced }, context, again, compare));
      output.focus();
      again();
    } catch (error) {
      if (error.name !== "AbortError") output.replaceChildren(failure(error));
    }
  });
  const begin = async (event) => {
    event.preventDefault();
    output.replaceChildren();
    const given = (input) => (input.value === "" ? undefined : Number(input.value));
    const request = { dry_run: dry.checked, force: force.checked, ask: ask.checked ? given(questions) : undefined, learner: learner.value || undefined, user: user.value || undefined, half_life_days: given(halfLife), seed: given(seed) };
    try {
      const { job } = await post(inside(name, "/refit"), request);
      follow(job, dry.checked, force.checked);
    } catch (error) {
      output.replaceChildren(failure(error));
    }
  };
  running("refit", name, signal).then((job) => job && follow(job, false, false), () => {});
  return section("Refit", h("p", { class: "muted" }, "Learns a metric from the judgements. The gate tests it on judgements that the fit has not seen; only what passes answers from then on."),
    h("form", { onsubmit: begin },
      h("div", { class: "checks" }, dryField, askField),
      h("details", {}, h("summary", {}, "Options"), h("div", { class: "fields" }, field("Questions", questions), field("Learner", learner), field("For one user", user), field("Half-life in days", halfLife), field("Seed", seed)), forceField),
      h("div", { class: "actions" }, submit)),
    output);
}

/** The verdict of the gate, in words and numbers. */
function verdict(result, { isDry, isForced }, context, again, compare) {
  const { gate, promoted, version, parent } = result;
  const passed = isDry ? result.would_promote : promoted;
  const words = isDry ? `Dry run: the gate would ${passed ? "let it pass" : "not let it pass"}. Nothing was stored.`
    : promoted ? `${isForced ? "Promoted whatever the gate says" : "Promoted"}: ${inSentence(version)} answers from now on.` : `Not promoted: ${named(parent)} goes on answering.`;
  const promote = button("Promote anyway", () => act(promote, () => promoteVersion(version, context, again)));
  return [
    h("p", { class: `verdict-line ${passed ? "good" : "bad"}`, role: "status" }, icon(passed ? "check" : "alert"), words),
    h("p", {}, gate.reason),
    result.fusion && h("p", {}, `In searches by words and meaning, ${result.fusion.gate.reason}.`),
    facts([["Measure", gate.measure], ["Before", decimal(gate.before)], ["After", decimal(gate.after)], ["Gain at least", signed(gate.lower_bound)], ["Held out", count(gate.held_out)],
      ["Similar pairs", count(result.pairs.similar)], ["Dissimilar pairs", count(result.pairs.dissimilar)], ["Learner", result.learner], ["Condition", decimal(result.condition, 1)],
      ["Shrunken to", result.shrinkage === undefined ? null : percent(result.shrinkage)], ["Teach nothing", result.stale], ["Took", `${count(Math.round(Object.values(result.millis).reduce((sum, part) => sum + part, 0)))} ms`]]),
    result.unchanged && h("p", { class: "muted" }, "The judgements lead to a version that was there already."),
    h("div", { class: "actions" },
      version !== null && version !== parent && button("See what moved", () => compare(parent, version)),
      result.ask?.length > 0 && h("a", { class: "button", href: context.link("judge") }, `Answer ${plural(result.ask.length, "question")}`),
      !isDry && !promoted && version !== null && promote),
  ].filter(Boolean);
}

async function promoteVersion(version, { name }, again) {
  if (!(await confirmed(`Promote ${inSentence(version)}?`, "It answers from now on. You can roll back at any time.", "Promote"))) return;
  const { active, user } = await post(inside(name, url`/metrics/${version}/promote`));
  tell(`${named(active)} answers ${user ?? "from now on"}.`);
  again();
}

function showVersions(container, moved, context, again) {
  const { name, signal } = context;
  load(container, signal, async () => (await get(inside(name, METRICS), signal)).metrics, (metrics) => {
    choosing(moved, metrics, context);
    if (metrics.length === 1) return empty("Only Euclidean so far.", h("p", {}, "Judge some hits, then refit."));
    return versionList(metrics, moved, context, again);
  });
}

function versionList(metrics, moved, context, again) {
  const { name } = context;
  const may = context.may("write");
  const active = metrics.find((version) => version.active && !version.user);
  const back = button([icon("undo"), `Roll back to ${active.parent === null ? "" : named(active.parent)}`], () => act(back, async () => {
    if (!(await confirmed("Roll back?", `${named(active.parent)} answers instead of ${inSentence(active.version)}, which stays and can be promoted again.`, "Roll back"))) return;
    const { active: now } = await post(inside(name, "/metrics/rollback"), {});
    tell(`${named(now)} answers again.`);
    again();
  }));
  const row = (version) => {
    const promote = button("Promote", () => act(promote, () => promoteVersion(version.version, context, again)));
    const erase = button("Delete", () => act(erase, async () => {
      if (!(await confirmed(`Delete ${inSentence(version.version)}?`, "Its matrix is removed. Its number is not used again.", "Delete", "danger"))) return;
      await remove(inside(name, url`/metrics/${version.version}`));
      tell(`${named(version.version)} is deleted.`);
      again();
    }));
    const end = version.user && version.active && button("End", () => act(end, async () => {
      await post(inside(name, "/metrics/rollback"), { user: version.user });
      tell(`${version.user} is answered under everybody's metric.`);
      again();
    }));
    const compare = version.parent !== null && button("Compare", () => showMoved(moved, version.parent, version.version, context));
    const { gate } = version;
    const state = version.active ? h("span", { class: "badge good" }, "active") : version.withdrawn ? h("span", { class: "badge warn" }, "withdrawn") : null;
    const usable = may && !version.withdrawn && !version.active;
    return [h("span", { class: "nowrap" }, named(version.version), " ", state, version.user && h("span", { class: "badge" }, version.user)),
      version.shrinkage === undefined ? version.learner : `${version.learner}, shrunken to ${percent(version.shrinkage)}`,
      when(version.created), `${count(version.pairs.similar)} + ${count(version.pairs.dissimilar)}`, decimal(version.condition, 1),
      gate?.before == null ? null : `${decimal(gate.before)} → ${decimal(gate.after)}`, gate ? signed(gate.lower_bound) : null,
      gate ? h("details", { class: "reason" }, h("summary", {}, gate.reason.startsWith("passed") || version.shrinkage !== undefined ? "passed" : "refused"), gate.reason) : null,
      h("div", { class: "row-actions" }, usable && promote, !version.withdrawn && compare, end, usable && version.version > 0 && erase)];
  };
  const measures = Map.groupBy(metrics.filter((version) => version.gate?.before != null), (version) => version.gate.measure);
  const charts = [...measures].filter(([, of]) => of.length > 1).map(([measure, of]) => chart(`The gate's measure over versions: ${measure}; ring: before, dot: after, line: from the certain gain`, of.slice(-20).map(({ version, gate }) =>
    ({ label: `v${version}`, before: gate.before, value: gate.after, low: Math.min(gate.before + gate.lower_bound, gate.after), high: gate.after }))));
  return [
    may && active.parent !== null && h("div", { class: "actions" }, back),
    table("Versions of the metric", ["Version", "Learner", "Made", "Pairs", "Condition", "Before → after", "Gain at least", "Gate", "Actions"], [...metrics].reverse().map(row)),
    charts, context.may("judge") && evaluating(metrics, context),
  ].flat().filter(Boolean);
}

/** P@10 and nDCG over versions, on what was judged. */
function evaluating(metrics, { name, signal }) {
  const output = h("div", { class: "stack" });
  const run = button("Evaluate versions on the judged queries", () => act(run, async () => {
    const queries = evaluated(await readJudgements(name, signal));
    if (queries.length === 0) throw new Error("No query has a relevant answer yet.");
    const usable = metrics.filter((version) => version.version > 0 && !version.withdrawn).slice(-8);
    const rows = [];
    for (const { version } of usable) {
      const told = await post(inside(name, "/evaluate"), { queries, k: 10, metric: version }, signal);
      if (rows.length === 0) rows.push(["Euclid", told.rows[0]]);
      rows.push([`v${version}`, told.rows.at(-1)]);
    }
    const plot = (title, key) => chart(title, rows.map(([label, row]) => ({ label, value: row[key].mean, low: row[key].low, high: row[key].high })));
    output.replaceChildren(h("p", { class: "muted" }, `On ${count(queries.length)} judged queries, which the versions may have learned from: the gate decides, not these.`),
      h("div", { class: "charts" }, plot("Precision@10, with its 95 % interval", "precision"), plot("nDCG@10, with its 95 % interval", "ndcg")));
  }));
  return h("div", { class: "stack" }, h("div", { class: "actions" }, run), output);
}

/** The choice of two versions to compare. */
function choosing(container, metrics, context) {
  const usable = metrics.filter((version) => !version.withdrawn);
  if (usable.length < 2) {
    container.replaceChildren(empty("There is one version, so nothing moved."));
    return;
  }
  const active = usable.find((version) => version.active && !version.user) ?? usable.at(-1);
  const to = active.version > 0 ? active : usable.at(-1);
  const choices = usable.map(({ version }) => [String(version), named(version)]);
  const from = h("select", {}, options(choices, String(to.parent ?? 0)));
  const target = h("select", {}, options(choices, String(to.version)));
  const output = h("div", { class: "moved", tabindex: "-1" });
  const compare = () => drawBetween(output, Number(from.value), Number(target.value), context);
  container.replaceChildren(h("div", { class: "fields" }, field("From", from), field("To", target), button("Compare", compare)), output);
}

function showMoved(container, from, to, context) {
  const [left, right] = container.querySelectorAll("select");
  if (left) [left.value, right.value] = [from, to];
  const output = container.querySelector(".moved") ?? container;
  drawBetween(output, from, to, context);
  output.closest(".card").scrollIntoView();
  output.focus();
}

/** What changed from one version to another: judged queries, and neighbours of sampled items. */
function drawBetween(container, from, to, context) {
  const [queries, neighbours] = [h("div"), h("div")];
  container.replaceChildren(...(context.may("judge") ? [h("h3", {}, "Judged queries that won and lost most"), queries] : []), h("h3", {}, "Neighbours that changed"), neighbours);
  if (context.may("judge")) drawWon(queries, from, to, context);
  return drawMoved(neighbours, from, to, context);
}

/** The judged queries whose nDCG@10 rose and fell most, side by side. */
function drawWon(container, from, to, { name, signal, link }) {
  const read = async () => {
    const queries = evaluated(await readJudgements(name, signal)).slice(-10000);
    if (queries.length === 0) return [];
    const under = async (version) => (await post(inside(name, "/evaluate"), { queries, k: 10, metric: version || "euclidean", per_query: true }, signal)).rows.at(-1).per_query;
    const [before, after] = await Promise.all([from, to].map(under));
    return queries.map((query, at) => ({ query, before: before[at], after: after[at], gain: after[at].ndcg - before[at].ndcg }));
  };
  return load(container, signal, read, (all) => {
    if (all.length === 0) return empty("No query has a relevant answer yet.", h("p", {}, "Judge some hits of a search relevant."));
    const rising = [...all].sort((a, b) => b.gain - a.gain);
    const line = ({ query, before, after, gain }) => {
      const words = clipped(subjectWords(query), 90);
      const asked = query.query_id === undefined ? { q: query.query } : { kind: "like", q: query.query_id };
      return h("li", {}, asked.q === undefined ? words : h("a", { href: link("search", { ...asked, metric: to, beside: from || "euclidean" }) }, words),
        h("br"), h("span", { class: "muted number" }, `nDCG@10 ${decimal(before.ndcg)} → ${decimal(after.ndcg)} (${signed(gain)}), P@10 ${decimal(before.precision, 1)} → ${decimal(after.precision, 1)}`));
    };
    const side = (title, kind, some) => h("div", {}, h("h4", {}, title), some.length > 0 ? h("ul", { class: kind }, some.slice(0, 8).map(line)) : h("p", { class: "muted" }, "None"));
    const won = rising.filter(({ gain }) => gain > 1e-9);
    const lost = rising.reverse().filter(({ gain }) => gain < -1e-9);
    return [h("p", { class: "muted" }, `Of ${count(all.length)} judged queries ${count(won.length)} won, ${count(lost.length)} lost. A link shows both answers side by side.`),
      h("div", { class: "pair" }, side(`Won under ${inSentence(to)}`, "come", won), side(`Lost under ${inSentence(to)}`, "gone", lost))];
  });
}

/** The neighbours that changed from one version to another, side by side. */
function drawMoved(container, from, to, { name, signal }) {
  const read = async () => {
    const diff = await get(inside(name, url`/metrics/${from}/diff/${to}`), signal);
    const changed = diff.neighbours.queries.filter(({ gone, come }) => gone.length + come.length > 0).slice(0, 8);
    const ids = [...new Set(changed.flatMap(({ query, gone, come }) => [query, ...gone, ...come]))];
    const { items } = ids.length > 0 ? await post(inside(name, "/get"), { ids }, signal) : { items: [] };
    return { diff, changed, texts: new Map(items.map((item) => [item.id, item.text])) };
  };
  container.replaceChildren();
  return load(container, signal, read, ({ diff, changed, texts }) => {
    const text = (id) => [clipped(texts.get(id) ?? "No text", 140), " ", h("code", {}, clipped(id, 60))];
    const side = (version, kind, ids) => h("div", {}, h("h4", {}, `Only under ${inSentence(version)}`), ids.length > 0 ? h("ul", { class: kind }, ids.map((id) => h("li", {}, text(id)))) : h("p", { class: "muted" }, "None"));
    return [
      facts([["Neighbours kept", percent(diff.neighbours.kept, 1)], ["Items sampled", count(diff.neighbours.queries.length)], ["Distance of the metrics", decimal(diff.distance)], ["Strongest factors", diff.factors.slice(0, 5).map((factor) => decimal(factor, 2)).join(", ")]]),
      changed.length === 0 && empty("No neighbour changed among the sampled items."),
      ...changed.map(({ query, gone, come }) => h("article", { class: "change" }, h("h3", {}, text(query)), h("div", { class: "pair" }, side(from, "gone", gone), side(to, "come", come)))),
    ].filter(Boolean);
  });
}

/** Judgements, versions, which of them was active, alarms and the trial over time. */
function showHappened(container, { name, signal, may }) {
  const read = () => Promise.all([get(inside(name, METRICS), signal), get(inside(name, "/drift"), signal), get(inside(name, "/trial"), signal), may("judge") ? readJudgements(name, signal) : []]);
  load(container, signal, read, ([{ metrics, activations }, { alarms }, { trial }, judgements]) => {
    const now = Date.now();
    const times = judgements.map(({ at }) => Date.parse(at)).filter((at) => at <= now);
    if (times.length + metrics.length === 1) return empty("Nothing happened yet.", h("p", {}, "Judgements, versions, alarms and trials are shown here on one axis of time."));
    const versions = metrics.slice(1).map(({ version, created, accepted: passed, gate, user, active, withdrawn, learner }) => {
      const state = [gate ? (passed ? "the gate let it pass" : "refused by the gate") : "without a test of the gate", user && `for ${user}`, active && "answers now", withdrawn && "withdrawn"].filter(Boolean).join(", ");
      return { lane: "Versions", at: Date.parse(created), kind: `${passed ? "passed" : "refused"}${active ? " now" : ""}`, label: `v${version}`, text: `${named(version)} (${learner}): ${state}` };
    });
    const changed = activations.map(({ at, version, by }, number) => {
      const back = version < (activations[number - 1]?.version ?? 0);
      const how = { refit: "learned and promoted", choice: back ? "rolled back to" : "promoted by a person", trial: "promoted by a trial", withdrawal: "the version before was withdrawn" }[by] ?? by;
      return { lane: "Active", at: Date.parse(at), kind: "passed", label: version === 0 ? "Euclid" : `v${version}`, text: `${named(version)} answers everybody from here on: ${how}` };
    });
    const warned = alarms.map((alarm) => ({ lane: "Alarms", at: now, kind: "alarm", text: `Alarm, as of now: ${alarm}` }));
    const tried = trial ? [{ lane: "Trial", at: trial.verdict === "running" ? now : null, kind: "now", label: VERDICTS[trial.verdict], text: `Trial of ${inSentence(trial.challenger)} against ${inSentence(trial.champion)}: ${VERDICTS[trial.verdict]}` }] : [];
    return timeline([...versions, ...changed, ...warned, ...tried], times, now);
  });
}

/** Drift and the state of the trial. */
function showWatched(container, context, again) {
  const { name, signal } = context;
  const read = () => Promise.all([get(inside(name, "/drift"), signal), get(inside(name, "/trial"), signal), get(inside(name, METRICS), signal)]);
  load(container, signal, read, ([drift, { trial }, { metrics }]) => [
    h("h3", {}, "Drift"),
    drift.alarms.length > 0 ? h("ul", { class: "alarms" }, drift.alarms.map((alarm) => h("li", {}, alarm))) : h("p", { class: "muted" }, drift.refits.length > 0 ? "No alarm." : "No refit yet."),
    drift.refits.length > 0 && table("Refits, newest first", ["Refit", "From", "Distance", "Before → after", "Gate", "Newest judgement"], [...drift.refits].reverse().map((refit) =>
      [named(refit.version), named(refit.parent), refit.distance === null ? null : decimal(refit.distance), refit.before === null ? null : `${decimal(refit.before)} → ${decimal(refit.after)}`, refit.accepted ? "passed" : "refused", refit.newest === null ? null : String(refit.newest)])),
    h("h3", {}, "Trial"),
    trial ? trialState(trial, context, again) : h("p", { class: "muted" }, "No trial yet. In a trial two metrics make the answers together, and clicks decide."),
    context.may("write") && trial?.verdict !== "running" && trialForm(metrics, context, again),
  ].filter(Boolean));
}

const VERDICTS = { running: "goes on", promoted: "the challenger was better and was promoted", refused: "the challenger was worse", ended: "was ended without a decision" };

function trialState(trial, { name, may }, again) {
  const needed = 1 / trial.alpha;
  const evidence = (value, label) => h("span", {}, h("meter", { min: 0, max: Math.log(needed), value: Math.max(0, Math.log(Math.max(value, 1))), "aria-label": label }), ` ${decimal(value, 2)} of ${decimal(needed, 0)}`);
  const end = button("End the trial", () => act(end, async () => {
    await remove(inside(name, "/trial"));
    tell("The trial is ended.");
    again();
  }));
  return h("div", { class: "stack" }, h("p", {}, `${named(trial.challenger)} against ${inSentence(trial.champion)}: ${VERDICTS[trial.verdict]}.`),
    facts([["Wins", count(trial.wins)], ["Losses", count(trial.losses)], ["Ties", count(trial.ties)], ["Evidence for it", evidence(trial.evidence, "Evidence for the challenger")], ["Evidence against it", evidence(trial.evidence_against, "Evidence against the challenger")], ["Chance of error", percent(trial.alpha)]]),
    trial.verdict === "running" && may("write") && h("div", { class: "actions" }, end));
}

function trialForm(metrics, { name }, again) {
  const usable = metrics.filter((version) => version.version > 0 && !version.active && !version.withdrawn && !version.user);
  if (usable.length === 0) return null;
  const version = h("select", {}, options(usable.map((one) => [String(one.version), named(one.version)])));
  const alpha = h("input", { type: "number", min: 0.001, max: 0.5, step: "any", value: 0.05 });
  const submit = h("button", {}, "Start a trial");
  const start = (event) => {
    event.preventDefault();
    return act(submit, async () => {
      await post(inside(name, "/trial"), { version: Number(version.value), alpha: Number(alpha.value) });
      tell("The trial has begun.");
      again();
    });
  };
  return h("form", { onsubmit: start }, h("div", { class: "fields" }, field("Challenger", version), field("Chance of error", alpha), submit));
}
