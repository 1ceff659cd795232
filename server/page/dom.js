// Building elements, showing states, and telling what happened.

const SVG = "http://www.w3.org/2000/svg";

/** An element. Attributes that begin with `on` are listeners; children that are strings become text. */
export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** An element of SVG. */
export function s(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** An icon of the page's sprite, without a name of its own. */
export function icon(name) {
  return s("svg", { class: "icon", "aria-hidden": "true" }, s("use", { href: `#icon-${name}` }));
}

/** Text for screen readers only. */
export function spoken(text) {
  return h("span", { class: "sr-only" }, text);
}

export function button(label, onclick, attributes = {}) {
  return h("button", { type: "button", onclick, ...attributes }, label);
}

/** A labelled field. */
export function field(label, input, hint) {
  return h("label", { class: "field" }, h("span", {}, label), input, hint && h("small", {}, hint));
}

export function options(choices, chosen) {
  return choices.map(([value, label]) => h("option", { value, selected: value === chosen }, label));
}

/** A table, scrolled on its own where it is too wide. Cells are strings, numbers or elements. */
export function table(caption, heads, rows) {
  const isNumber = (cell) => typeof cell === "number" || /^[-+−]?[\d.,]+( %| [KMGT]?i?B)?( (→|\+|of) [\d.,]+)?$/.test(cell);
  const cell = (content) => h("td", { class: isNumber(content) && "number" }, content ?? "–");
  const first = rows[0] ?? [];
  const head = (text, at) => h("th", { scope: "col", class: isNumber(first[at]) && "number" }, text);
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    h("table", {}, h("caption", { class: "sr-only" }, caption),
      h("thead", {}, h("tr", {}, heads.map(head))),
      h("tbody", {}, rows.map((row) => h("tr", {}, row.map(cell))))));
}

/** Pairs of a name and a value. */
export function facts(pairs) {
  const shown = pairs.filter(([, value]) => value !== null && value !== undefined);
  return h("dl", { class: "facts" }, shown.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

export function section(title, ...children) {
  return h("section", { class: "card" }, h("h2", {}, title), children);
}

export function empty(title, ...children) {
  return h("div", { class: "empty" }, h("p", { class: "empty-title" }, title), children);
}

/** An error, with a button that tries again where that can help. */
export function failure(error, retry) {
  return h("div", { class: "failure", role: "alert" }, icon("alert"),
    h("div", {}, h("strong", {}, error.title ?? "Something went wrong"), h("p", {}, error.message)),
    retry && button("Try again", retry));
}

/** Shows what `read` gives, and its waiting and its failure until then. */
export async function load(container, signal, read, render) {
  container.setAttribute("aria-busy", "true");
  if (!container.hasChildNodes()) container.append(h("p", { class: "muted" }, "Loading…"));
  try {
    const content = render(await read());
    if (!signal.aborted) container.replaceChildren(...[content].flat());
  } catch (error) {
    if (signal.aborted || error.name === "AbortError") return;
    container.replaceChildren(failure(error, () => load(container, signal, read, render)));
  } finally {
    container.removeAttribute("aria-busy");
  }
}

let fading;

/** Tells what happened, in sight and to screen readers. */
export function tell(message, kind = "done") {
  const toast = document.getElementById("toast");
  toast.className = `toast shown ${kind}`;
  toast.textContent = message;
  clearTimeout(fading);
  fading = setTimeout(() => toast.classList.remove("shown"), kind === "failed" ? 9000 : 4000);
}

/** Does something that a button asks for; the button waits, and a failure is told. */
export async function act(control, work) {
  if (control) control.disabled = true;
  try {
    return await work();
  } catch (error) {
    if (error.name !== "AbortError") tell(error.message, "failed");
    return undefined;
  } finally {
    if (control) control.disabled = false;
  }
}

/** Opens a dialog and gives what it was closed with. */
export function dialog(title, content, actions) {
  return new Promise((resolve) => {
    const box = h("dialog", { "aria-labelledby": "dialog-title" },
      h("form", { method: "dialog" }, h("h2", { id: "dialog-title" }, title), content,
        h("div", { class: "actions" }, actions.map(([value, label, kind]) => h("button", { value, class: kind }, label)))));
    box.addEventListener("close", () => {
      box.remove();
      resolve(box.returnValue);
    });
    document.body.append(box);
    box.showModal();
  });
}

/** Whether the reader agrees. */
export async function confirmed(title, text, label, kind = "primary") {
  return (await dialog(title, h("p", {}, text), [["", "Cancel"], ["yes", label, kind]])) === "yes";
}

/** A text, its end hidden where it is long, with highlights where it has some. */
export function longText(text, highlights = [], most = 420) {
  const places = highlights.map((place) => ({ by: place.by, start: unitsOf(text, place.start), end: unitsOf(text, place.end) }));
  if (text.length <= most) return h("p", { class: "text" }, highlighted(text, places, text.length));
  const shown = h("span", {}, highlighted(text, places, most), "…");
  const more = button(`Show all ${count(text.length)} characters`, () => {
    const all = more.getAttribute("aria-expanded") !== "true";
    shown.replaceChildren(...highlighted(text, places, all ? text.length : most), ...(all ? [] : ["…"]));
    more.setAttribute("aria-expanded", all);
    more.textContent = all ? "Show less" : `Show all ${count(text.length)} characters`;
  }, { class: "link", "aria-expanded": "false" });
  return h("p", { class: "text" }, shown, " ", more);
}

/** The number of UTF-16 units in so many bytes of UTF-8 at the beginning of a text. */
function unitsOf(text, bytes) {
  let [unit, byte] = [0, 0];
  while (byte < bytes && unit < text.length) {
    const code = text.codePointAt(unit);
    byte += code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    unit += code < 0x10000 ? 1 : 2;
  }
  return unit;
}

/** The beginning of a text, in pieces: words that were found are marked, and the nearest sentence. */
function highlighted(text, places, end) {
  const edges = places.flatMap(({ start, end: last }) => [start, last]).filter((edge) => edge < end);
  const cuts = [...new Set([0, ...edges, end])].sort((a, b) => a - b);
  return cuts.slice(1).map((cut, at) => {
    const start = cuts[at];
    const within = (by) => places.some((place) => place.by === by && place.start <= start && place.end >= cut);
    const piece = text.slice(start, cut);
    const word = within("words") ? h("mark", {}, piece) : piece;
    return within("meaning") ? h("span", { class: "nearest", title: "The sentence nearest to the query" }, word) : word;
  });
}

export function clipped(text, most = 160) {
  return text.length > most ? `${text.slice(0, most)}…` : text;
}

export function count(number) {
  return number.toLocaleString("en");
}

/** "1 item", "2 items". */
export function plural(number, noun) {
  return `${count(number)} ${noun}${number === 1 ? "" : "s"}`;
}

export function decimal(number, digits = 3) {
  return number === null || number === undefined ? "–" : number.toFixed(digits).replace("-", "−");
}

export function signed(number, digits = 3) {
  return number === null || number === undefined ? "–" : `${number >= 0 ? "+" : ""}${decimal(number, digits)}`;
}

export function percent(share, digits = 0) {
  return `${(100 * share).toFixed(digits)} %`;
}

export function bytes(number) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const power = number ? Math.min(Math.floor(Math.log2(number) / 10), units.length - 1) : 0;
  return `${(number / 1024 ** power).toFixed(power ? 1 : 0)} ${units[power]}`;
}

export function when(time) {
  if (!time) return "–";
  return h("time", { datetime: time }, new Date(time).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" }));
}
