// Calls of the service, and the jobs that they begin.

import { h, icon, button, act } from "./dom.js";

/** An answer that says what was wrong. */
class Problem extends Error {
  constructor({ type = "", title, status = 0, detail }) {
    super(detail ?? title ?? "There was no answer.");
    this.name = "Problem";
    this.type = type;
    this.title = title;
    this.status = status;
  }
}

/** A path whose inserted parts are percent-encoded. */
export function url(parts, ...values) {
  return parts.reduce((path, part, at) => path + encodeURIComponent(values[at - 1]) + part);
}

/** The path of something in a collection. */
export function inside(name, rest = "") {
  return url`/v1/collections/${name}` + rest;
}

let whenLoggedOut = () => {};

/** What is done when the service wants a login. */
export function onLoggedOut(handler) {
  whenLoggedOut = handler;
}

export async function call(method, path, body, signal) {
  let response;
  try {
    response = await fetch(path, {
      method,
      signal,
      headers: body === undefined ? {} : { "content-type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem({
      title: "The service does not answer",
      detail: "It may have ended, or the network may be down. What was acknowledged is stored.",
    });
  }
  const answer = await response.json().catch(() => ({ status: response.status, title: `Status ${response.status}`, detail: "The answer is not JSON." }));
  if (response.ok) return answer;
  if (response.status === 401 && !path.startsWith("/v1/session")) whenLoggedOut();
  throw new Problem(answer);
}

export const get = (path, signal) => call("GET", path, undefined, signal);
export const post = (path, body, signal) => call("POST", path, body, signal);
export const remove = (path) => call("DELETE", path);

/** Follows a job until it ends, and gives its result. */
function follow(job, onProgress, signal) {
  return new Promise((resolve, reject) => {
    const source = new EventSource(url`/v1/jobs/${job}/events`);
    const end = (document) => {
      source.close();
      if (document.state === "done") resolve(document.result);
      else reject(new Problem(document.error));
    };
    const ask = async () => {
      source.close();
      try {
        const document = await get(url`/v1/jobs/${job}`, signal);
        if (document.state !== "running") return end(document);
        onProgress(document);
        return setTimeout(ask, 1000);
      } catch (error) {
        return reject(error);
      }
    };
    source.addEventListener("progress", (event) => onProgress(JSON.parse(event.data)));
    source.addEventListener("done", (event) => end(JSON.parse(event.data)));
    source.addEventListener("failed", (event) => end(JSON.parse(event.data)));
    // A stream may be cut off on the way; the state of the job is asked for then.
    source.addEventListener("error", ask);
    signal.addEventListener("abort", () => source.close());
  });
}

/** Shows a job in `container` until it ends, with a button that cancels it, and gives its result. */
export async function watch(container, job, label, signal) {
  const bar = h("progress", { "aria-label": label });
  const share = h("span", { class: "muted number" });
  const cancel = button("Cancel", () => act(cancel, () => post(url`/v1/jobs/${job}/cancel`)));
  container.replaceChildren(h("div", { class: "job", role: "group", "aria-label": label }, h("span", {}, label), bar, share, cancel));
  const result = await follow(job, (document) => {
    if (document.progress === null) return;
    bar.value = document.progress;
    share.textContent = `${Math.round(100 * document.progress)} %`;
  }, signal);
  container.replaceChildren(h("p", { class: "muted" }, icon("check"), ` ${label}: done`));
  return result;
}

/** The job of a kind that runs for a collection, if there is one. */
export async function running(kind, collection, signal) {
  const { jobs } = await get("/v1/jobs", signal);
  return jobs.find((job) => job.state === "running" && job.kind === kind && (job.collection ?? collection) === collection)?.job;
}
