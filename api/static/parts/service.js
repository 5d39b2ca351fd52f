// The API: requests with the visitor's key, and the stream of a job's events.
//
// The key lies in sessionStorage: this tab alone has it, and forgets it when it is closed. It goes
// out in the Authorization header and nowhere else; EventSource cannot send one, so streams are
// read with fetch.

import { heard, lost } from "./notice.js";

const KEY = "slimgpt.key";
const LONGEST_PAUSE = 30_000;
const ANSWER_WITHIN = 30_000; // what takes longer to read does not come
const SILENT_FOR = 50_000; // an open stream says something every 15 seconds

export const key = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (value) => sessionStorage.setItem(KEY, value),
  forget: () => sessionStorage.removeItem(KEY),
};

/** What the API says no with: a problem document (RFC 9457), or what stands for one. */
export class Refusal extends Error {
  constructor(status, problem, retryAfter) {
    super(problem.detail || problem.title || `the service answered ${status}`);
    this.status = status;
    this.problem = problem;
    this.retryAfter = retryAfter;
  }
}

/** The service gave no answer. */
export class Unreachable extends Error {
  constructor() {
    super("The service cannot be reached.");
  }
}

/** Whether asking again may help: the service was away or in trouble, and did not say no. */
export const mayPass = (error) => !(error.status < 500);

let unauthorized = () => {};

/** Call this whenever the API asks for a key. */
export function onUnauthorized(listener) {
  unauthorized = listener;
}

/** Path segments, safe in an address. */
export const path = (...parts) => parts.map((part) => encodeURIComponent(part)).join("/");

function headers(more) {
  const made = new Headers(more);
  if (key.get()) made.set("Authorization", `Bearer ${key.get()}`);
  return made;
}

async function reach(address, options) {
  try {
    return await fetch(address, options);
  } catch (error) {
    if (error.name === "AbortError") throw error; // by this page; a time limit has another name
    lost();
    throw new Unreachable();
  }
}

/** The answer to a request to a path of the API.  Throws Refusal or Unreachable. */
export async function ask(address, options = {}) {
  const used = key.get();
  const answer = await reach(`v1/${address}`, { cache: "no-cache", ...options, headers: headers(options.headers) });
  if (answer.status < 500) heard();
  else if (!options.method) lost();
  if (answer.ok || answer.type === "opaqueredirect") return answer;
  const problem = await answer.json().catch(() => ({}));
  // An answer to a key that was changed meanwhile says nothing about the new one.
  if (answer.status === 401 && used === key.get()) unauthorized(problem);
  throw new Refusal(answer.status, problem, Number(answer.headers.get("Retry-After")) || null);
}

/** The JSON at a path of the API. */
export async function read(address, options = {}) {
  const answer = await ask(address, { signal: AbortSignal.timeout(ANSWER_WITHIN), ...options });
  try {
    return await answer.json();
  } catch (error) {
    lost();
    throw error instanceof SyntaxError ? error : new Unreachable();
  }
}

/** Post JSON; the answer's JSON. */
export async function post(address, body, more = {}) {
  const sent = body === undefined
    ? { method: "POST", headers: more }
    : { method: "POST", headers: { "Content-Type": "application/json", ...more }, body: JSON.stringify(body) };
  return (await ask(address, sent)).json();
}

/** Whether the service can work, and which parts of it can't. Needs no key. */
export async function readiness() {
  const answer = await reach("readyz", { cache: "no-store" });
  const body = await answer.json();
  if (answer.ok) heard();
  const failed = Object.entries(body.checks ?? {}).filter(([, state]) => state !== "ok").map(([name]) => name);
  return { ready: answer.ok, failed };
}

const pause = (milliseconds, signal) =>
  new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
  });

function within(milliseconds, promise) {
  let timer;
  const late = new Promise((_, reject) => { timer = setTimeout(() => { lost(); reject(new Unreachable()); }, milliseconds); });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Server-sent events in a stream of text (HTML standard, 9.2.6). */
async function* eventsOf(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  let event = {};
  for (;;) {
    const { value, done } = await within(SILENT_FOR, reader.read());
    if (done) return;
    text += value;
    const lines = text.split(/\r\n|\n|\r(?!$)/);
    text = lines.pop();
    for (const line of lines) {
      if (line === "") {
        if (event.data !== undefined) yield event;
        event = {};
        continue;
      }
      const [, name, content] = /^([^:]*):? ?(.*)$/.exec(line);
      if (name === "data") event.data = event.data === undefined ? content : `${event.data}\n${content}`;
      else if (name) event[name] = content;
    }
  }
}

/**
 * Follow a job's events to the `end`, over breaks of the connection.
 *
 * @param hear called with (name, data, id) of each event.
 * @param tell called with whether the stream is open.
 * @param from the id of the last event known, if any.
 * @returns the id of the last event heard, for a later call.
 */
export async function follow(id, { hear, tell, signal, from }) {
  let last = from;
  let wait = 1000;
  while (!signal.aborted) {
    try {
      const answer = await ask(`jobs/${path(id)}/events`, {
        signal,
        headers: last ? { Accept: "text/event-stream", "Last-Event-ID": last } : { Accept: "text/event-stream" },
      });
      tell(true);
      wait = 1000;
      for await (const event of eventsOf(answer.body)) {
        if (event.id) last = event.id;
        hear(event.event ?? "message", JSON.parse(event.data), event.id);
        if (event.event === "end") return last;
      }
    } catch (error) {
      if (signal.aborted) break;
      const over = error instanceof Refusal && [401, 403, 404, 422].includes(error.status);
      if (over) { tell(false); return last; }
      if (error.retryAfter) wait = Math.max(wait, error.retryAfter * 1000);
    }
    tell(false);
    await pause(wait, signal);
    wait = Math.min(wait * 2, LONGEST_PAUSE);
  }
  return last;
}
