// Plots of versions, as SVG.

import { h, s, decimal } from "./dom.js";

const HEIGHT = 170;
const LEFT = 48;
const BOTTOM = 26;
const TOP = 10;

/**
 * Points with intervals over versions. `points` are `{label, value, low, high, before}`; `before` is
 * what the value is compared with and may be missing.
 */
export function chart(title, points) {
  const width = Math.min(560, innerWidth - 64);
  const all = points.flatMap(({ value, low, high, before }) => [value, low, high, before]).filter((number) => Number.isFinite(number));
  const [least, most] = [Math.min(...all), Math.max(...all)];
  const margin = (most - least || Math.abs(most) || 1) * 0.1;
  const [bottom, top] = [least - margin, most + margin];
  const x = (at) => LEFT + ((at + 0.5) * (width - LEFT)) / points.length;
  const y = (value) => TOP + ((top - value) / (top - bottom)) * (HEIGHT - TOP - BOTTOM);
  const ticks = [0, 1, 2, 3].map((step) => bottom + margin / 2 + ((top - bottom - margin) * step) / 3);
  const one = ({ label, value, low, high, before }, at) => s("g", {},
    Number.isFinite(low) && s("line", { class: "interval", x1: x(at), x2: x(at), y1: y(low), y2: y(high) }),
    Number.isFinite(before) && s("circle", { class: "before", cx: x(at), cy: y(before), r: 4 }),
    s("circle", { class: "after", cx: x(at), cy: y(value), r: 4 }),
    s("text", { x: x(at), y: HEIGHT - 8, "text-anchor": "middle" }, label));
  const spoken = points.map(({ label, value, before }) => `${label}: ${decimal(value)}${Number.isFinite(before) ? `, before ${decimal(before)}` : ""}`).join("; ");
  return h("figure", {}, h("figcaption", {}, title),
    s("svg", { class: "chart", viewBox: `0 0 ${width} ${HEIGHT}`, width, role: "img", "aria-label": `${title}. ${spoken}` },
      ticks.map((tick) => s("g", {}, s("line", { class: "grid", x1: LEFT, x2: width, y1: y(tick), y2: y(tick) }), s("text", { x: LEFT - 6, y: y(tick) + 4, "text-anchor": "end" }, decimal(tick, 2)))),
      points.map(one)));
}
