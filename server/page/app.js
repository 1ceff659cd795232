// The frame of the page: session, collections, routes and keys.

import { h, button, dialog, failure, field, icon, tell } from "./dom.js";
import { get, inside, onLoggedOut, post, remove } from "./api.js";
import * as search from "./search.js";
import * as judge from "./judge.js";
import * as learn from "./learn.js";
import * as collection from "./collection.js";

const VIEWS = { search, judge, learn, collection };
const ROLES = ["search", "judge", "write", "admin"];
const main = document.getElementById("main");
const chooser = document.getElementById("collections");

const state = { session: null, collections: [], leave: new AbortController(), keys: [], shown: null };

/** The address of a view. */
function address(view, name, query = {}) {
  const parameters = new URLSearchParams(query).toString();
  return `#/${view}${name ? `/${encodeURIComponent(name)}` : ""}${parameters ? `?${parameters}` : ""}`;
}

function route() {
  const [path, query] = location.hash.slice(1).split("?");
  let parts = [];
  try {
    parts = path.split("/").slice(1).map(decodeURIComponent);
  } catch {
    // A percent sign that encodes nothing: the first view is shown.
  }
  const view = Object.hasOwn(VIEWS, parts[0]) ? parts[0] : "search";
  return { view, name: parts[1], query: new URLSearchParams(query) };
}

/** What a view is given: its collection, its address, and what it can ask of the frame. */
function context(view, info, guidelines, query) {
  return {
    view,
    info,
    name: info?.name,
    guidelines,
    query,
    user: state.session.user,
    signal: state.leave.signal,
    may: (role) => ROLES.indexOf(state.session.role) >= ROLES.indexOf(role),
    link: (other, parameters) => address(other, info?.name, parameters),
    onKeys: (title, handlers) => state.keys.push({ title, handlers }),
    reread: readCollections,
    reload: render,
    open: async (other, name) => {
      await readCollections();
      const target = address(other, name);
      if (location.hash === target) render();
      else location.hash = target;
    },
    remember: (parameters) => history.replaceState(null, "", address(view, info?.name, parameters)),
  };
}

async function readCollections() {
  state.collections = (await get("/v1/collections")).collections;
}

function drawHeader(view, name) {
  const named = state.collections.map((entry) => h("option", { value: entry.name, selected: entry.name === name }, entry.name));
  chooser.replaceChildren(...named);
  document.getElementById("chooser").hidden = named.length === 0;
  const nav = document.getElementById("nav");
  nav.hidden = named.length === 0;
  nav.replaceChildren(...Object.entries(VIEWS).map(([key, { title }]) =>
    h("a", { href: address(key, name), "aria-current": key === view && "page" }, title)));
  const { tokens, user, role } = state.session;
  document.getElementById("account").replaceChildren(
    button(icon("keyboard"), showKeys, { class: "quiet", "aria-label": "Keyboard shortcuts" }),
    ...(tokens && user ? [h("span", { class: "who", title: `role ${role}` }, user), button("Log out", logOut, { class: "quiet" })] : []));
}

async function render() {
  const { view, name, query } = route();
  const info = state.collections.find((entry) => entry.name === name) ?? (name === undefined ? state.collections[0] : undefined);
  state.leave.abort();
  state.leave = new AbortController();
  state.keys = [];
  const isFirst = state.shown === null;
  state.shown = view;
  const { title, show } = VIEWS[view];
  document.title = `${title} – ${info?.name ?? name ?? "affinis"}`;
  drawHeader(view, info?.name);
  const heading = h("h1", { tabindex: "-1" }, title);
  const body = h("div", { class: `view ${view}` });
  main.replaceChildren(heading, body);
  const { signal } = state.leave;
  const draw = (guidelines) => {
    const given = context(view, info, guidelines, query);
    if (info || view === "collection") show(body, given);
    else if (name !== undefined) body.append(failure({ title: "No such collection", message: `There is no collection ${JSON.stringify(name)} in this store.` }));
    else collection.showFirst(body, given);
    if (!isFirst && !main.contains(document.activeElement)) heading.focus();
  };
  if (!info) return draw();
  try {
    const guidelines = await get(inside(info.name, "/guidelines"), signal);
    if (!signal.aborted) draw(guidelines);
  } catch (error) {
    if (!signal.aborted) body.replaceChildren(failure(error, render));
  }
}

/** Reads the session and the collections, and shows what the address names. */
async function begin() {
  try {
    state.session = await get("/v1/session");
    if (state.session.role === null) return showLogin();
    await readCollections();
    return render();
  } catch (error) {
    return main.replaceChildren(h("h1", {}, "affinis"), failure(error, begin));
  }
}

function showLogin(reason) {
  state.leave.abort();
  state.keys = [];
  for (const id of ["nav", "chooser"]) document.getElementById(id).hidden = true;
  document.getElementById("account").replaceChildren();
  document.title = "Log in – affinis";
  const token = h("input", { type: "password", name: "token", required: true, autocomplete: "current-password" });
  const problem = h("div", {}, reason && failure({ title: "Logged out", message: reason }));
  const submit = h("button", { class: "primary" }, "Log in");
  const logIn = async (event) => {
    event.preventDefault();
    submit.disabled = true;
    try {
      await post("/v1/session", { token: token.value.trim() });
      await begin();
    } catch (error) {
      problem.replaceChildren(failure(error));
      token.focus();
    } finally {
      submit.disabled = false;
    }
  };
  main.replaceChildren(h("h1", {}, "Log in"), h("form", { class: "card narrow", onsubmit: logIn },
    field("Token", token, "The service's owner makes one with “affinis token NAME --role judge”."), problem,
    h("div", { class: "actions" }, submit)));
  token.focus();
}

async function logOut() {
  try {
    state.session = await remove("/v1/session");
    showLogin();
  } catch (error) {
    tell(error.message, "failed");
  }
}

const SHORTCUTS = "affinis.shortcuts";
const shortcutsOn = () => localStorage.getItem(SHORTCUTS) !== "off";

function showKeys() {
  const groups = [{ title: "Everywhere", handlers: { "/": ["Go to the search box", () => {}], "?": ["Show this list", () => {}] } }, ...state.keys];
  const list = ({ title, handlers }) => [h("h3", {}, title), h("dl", { class: "keys" },
    Object.entries(handlers).map(([key, [label]]) => h("div", {}, h("dt", {}, h("kbd", {}, key)), h("dd", {}, label))))];
  const toggle = h("input", { type: "checkbox", checked: shortcutsOn(), onchange: () => localStorage.setItem(SHORTCUTS, toggle.checked ? "on" : "off") });
  dialog("Keyboard shortcuts", [groups.map(list), h("label", { class: "check" }, toggle, "Keys without Ctrl or Alt do something")], [["", "Close", "primary"]]);
}

function onKey(event) {
  const editable = event.target.closest("input:not([type=checkbox]), textarea, select, dialog");
  if (editable || event.ctrlKey || event.metaKey || event.altKey || !shortcutsOn()) return;
  const own = state.keys.find(({ handlers }) => Object.hasOwn(handlers, event.key))?.handlers[event.key];
  if (own) own[1](event);
  else if (event.key === "?") showKeys();
  else if (event.key === "/") {
    const box = document.getElementById("query");
    if (box) box.focus();
    else location.hash = address("search", route().name);
  } else return;
  event.preventDefault();
}

onLoggedOut(() => {
  // Several answers may say so at once.
  if (state.session?.role === null) return;
  state.session.role = null;
  showLogin("The session has ended. Log in again to go on where you were.");
});
document.querySelector(".skip").addEventListener("click", (event) => {
  // Its address would be taken for a view's.
  event.preventDefault();
  main.focus();
});
addEventListener("hashchange", () => state.session?.role && render());
addEventListener("keydown", onKey);
chooser.addEventListener("change", () => {
  location.hash = address(route().view, chooser.value);
});
begin();
