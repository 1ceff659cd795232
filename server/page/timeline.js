// What happened to a collection, on one axis of time: judgements, versions, activations, alarms, the trial.

import { h, s, count, plural, table, when } from "./dom.js";

const LEFT = 92;
const RIGHT = 14;
const LANE = 40;
const BINS = 60;

/**
 * Draws events `{lane, at, kind, label, text}` and counts of judgements over time. `at` is in
 * milliseconds, or null where it is not known: such events are in the list only.
 */
export function timeline(events, times, now) {
  const placed = events.filter(({ at }) => at !== null);
  const all = [...placed.map(({ at }) => at), ...times, now];
  const begin = all.reduce((least, at) => Math.min(least, at), now - 60_000);
  const width = Math.max(280, Math.min(1100, innerWidth - 96));
  const x = (at) => LEFT + ((at - begin) / (now - begin)) * (width - LEFT - RIGHT);
  const lanes = ["Judgements", ...new Set(events.map(({ lane }) => lane))];
  const y = (lane) => lanes.indexOf(lane) * LANE + LANE / 2 + 6;
  const height = lanes.length * LANE + 28;
  const bins = Array(BINS).fill(0);
  for (const at of times) bins[Math.min(BINS - 1, Math.floor(((at - begin) / (now - begin)) * BINS))] += 1;
  const most = Math.max(1, ...bins);
  const step = (width - LEFT - RIGHT) / BINS;
  const base = y("Judgements") + LANE / 2 - 6;
  const bars = bins.map((number, at) => number > 0 && s("rect", { class: "bar", x: LEFT + at * step, width: Math.max(1, step - 1), y: base - Math.max(2, (number / most) * (LANE - 10)), height: Math.max(2, (number / most) * (LANE - 10)) }));
  // A label is left out where it would cover the one before it; the list has all.
  const free = {};
  const marks = [...placed].sort((a, b) => a.at - b.at).map(({ lane, at, kind, label, text }) => {
    const [cx, cy] = [x(at), y(lane)];
    const fits = label && cx - (free[lane] ?? -99) > 8 * label.length;
    if (fits) free[lane] = cx;
    return s("g", { class: `event ${kind}` }, s("title", {}, text),
      kind === "alarm" ? s("path", { d: `M${cx} ${cy - 7}l7 12h-14z` }) : s("circle", { cx, cy, r: 6 }),
      fits && s("text", { x: Math.min(cx, width - RIGHT), y: cy + 19, "text-anchor": "middle" }, label));
  });
  const span = now - begin;
  const shown = span > 172_800_000 ? { day: "numeric", month: "short" } : { hour: "2-digit", minute: "2-digit", ...(span < 600_000 && { second: "2-digit" }) };
  const ticks = (width < 500 ? [0, 1] : [0, 0.25, 0.5, 0.75, 1]).map((share) => {
    const at = begin + share * (now - begin);
    return s("g", {}, s("line", { class: "grid", x1: x(at), x2: x(at), y1: 6, y2: height - 22 }),
      s("text", { x: x(at), y: height - 6, "text-anchor": share === 1 ? "end" : share ? "middle" : "start" }, share === 1 ? "now" : new Date(at).toLocaleString("en-GB", shown)));
  });
  const names = lanes.map((lane) => s("text", { x: 0, y: y(lane) + 4 }, lane));
  const listed = [...events].sort((a, b) => (b.at ?? Infinity) - (a.at ?? Infinity));
  return h("figure", {},
    h("figcaption", {}, "A filled dot passed the gate, a ring did not or was imported; a green edge answers now; of the lane Active, a dot is the time from which a version answered everybody; a triangle is an alarm. The list has the same."),
    s("svg", { class: "chart timeline", viewBox: `0 0 ${width} ${height}`, width, role: "img", "aria-label": `Timeline: ${plural(times.length, "judgement")} and ${plural(events.length, "event")}, listed below` }, ticks, bars, marks, names),
    h("details", {}, h("summary", {}, `All ${count(events.length)} events as a list`),
      table("Events, newest first", ["When", "What"], listed.map(({ at, text }) => [at === null ? "not recorded" : when(new Date(at).toISOString()), h("div", { class: "cell" }, text)]))));
}
