// The table of jobs: counts, filters, pages, and how far the running ones are.

import { h, show } from "../parts/element.js";
import { complain } from "../parts/notice.js";
import { path, read, Unreachable } from "../parts/service.js";
import { badge, bar, isOver } from "../parts/status.js";
import { ago, between, count, duration, measure, modelOf, moment, percent, target } from "../parts/words.js";

const EVERY = 5000;
const PAGE = 25;
const WATCHED = 10; // running jobs whose standing is asked for: a request each
const SHOWN = ["running", "queued", "succeeded", "failed", "cancelled"];

function size(job) {
  const of = job.result ?? job.plan;
  if (!of?.parameters_before) return "–";
  const removed = 1 - of.parameters_after / of.parameters_before;
  return [`${count(of.parameters_before)} → ${count(of.parameters_after)} `,
    h("span", { class: "quiet" }, `−${percent(removed)}`)];
}

function perplexity(job) {
  const first = job.result?.perplexity?.[0];
  if (!first) return "–";
  return h("span", { title: `${first.text}, windows of ${first.sequence_length} tokens${first.begins_with ? ` from ${first.begins_with}` : ""}` },
    `${measure(first.dense)} → ${measure(first.pruned)}`);
}

function progress(job, standing) {
  if (job.status === "failed") return h("span", { class: "reason" }, job.error?.message ?? "no reason was recorded");
  if (job.status === "succeeded") return h("span", { class: "quiet" }, `took ${duration(between(job.started_at ?? job.created_at, job.finished_at))}`);
  if (isOver(job.status)) return h("span", { class: "quiet" }, job.layers_done ? `after ${job.layers_done} layers` : "before it began");
  if (job.status === "queued") return h("span", { class: "quiet" }, job.attempt ? "waits for another attempt" : "waits for a worker");
  const now = standing ?? { percent: 0, stage: job.stage };
  return [h("span", { class: "stage" }, now.stage ?? "starting"), bar(now, `Progress of ${modelOf(job.spec)}`)];
}

function cells(job, standing, admin) {
  const labels = Object.entries(job.metadata);
  return [
    ["Status", badge(standing?.status ?? job.status)],
    ["Model", [h("a", { class: "model", href: `#/jobs/${path(job.id)}` }, modelOf(job.spec)),
      h("span", { class: "labels" }, labels.slice(0, 3).map(([name, value]) => h("span", null, `${name}=${value}`)),
        labels.length > 3 && h("span", null, `+${labels.length - 3}`))]],
    ["Target", [target(job.spec), job.spec.method && job.spec.method !== "slimgpt" && h("span", { class: "quiet" }, ` ${job.spec.method}`)]],
    ["Progress", progress(job, standing)],
    ["Parameters", size(job)],
    ["Perplexity", perplexity(job)],
    ...(admin ? [["Owner", job.owner]] : []),
    ["Posted", h("time", { datetime: job.created_at, title: moment(job.created_at) }, ago(job.created_at))],
  ];
}

function row(job, standing, admin) {
  return h("tr", { role: "row", "data-id": job.id }, cells(job, standing, admin).map(([name, content]) =>
    h("td", { role: "cell", "data-label": name, class: `${name.toLowerCase()} ${content === "–" ? "none" : ""}` }, h("div", null, content))));
}

function filters(state, change) {
  const field = (label, control) => h("label", null, h("span", null, label), control);
  const text = (name, placeholder, list) => h("input", {
    name, placeholder, type: "search", autocomplete: "off", spellcheck: "false", value: state[name], list,
    onchange: (event) => change({ [name]: event.target.value.trim() }),
  });
  const status = h("select", { name: "status", onchange: (event) => change({ status: event.target.value }) },
    [["", "every status"], ...[...SHOWN, "cancelling"].map((word) => [word, word])].map(([value, word]) =>
      h("option", { value, selected: state.status === value }, word)));
  return h("form", { class: "filters", role: "search", "aria-label": "Filter jobs", onsubmit: (event) => event.preventDefault() },
    field("Status", status),
    field("Model", text("model", "exactly as posted", "models")), h("datalist", { id: "models" }),
    state.admin && field("Owner", text("owner", "any")));
}

/** Show the list in an element; returns a function that ends it. */
export function list(root, { admin, overview }) {
  const state = { status: "", model: "", owner: "", admin, cursors: [""], next: null };
  const counts = h("div", { class: "counts", role: "group", "aria-label": "Jobs by status" });
  const body = h("tbody", { role: "rowgroup" });
  const empty = h("div", { class: "empty" });
  const pages = h("nav", { class: "pages", "aria-label": "Pages" });
  const names = ["Status", "Model", "Target", "Progress", "Parameters", "Perplexity", ...(admin ? ["Owner"] : []), "Posted"];
  const table = h("table", { class: "jobs", role: "table", "aria-label": "Jobs" },
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, names.map((name) => h("th", { role: "columnheader", scope: "col" }, name)))),
    body);
  const bars = filters(state, change);
  let timer;
  let asked = 0;
  let ended = false;

  root.append(h("h1", { class: "unseen" }, "Jobs"), counts, bars, table, empty, pages);

  function change(more) {
    Object.assign(state, more, { cursors: [""] });
    bars.elements.status.value = state.status;
    refresh();
  }

  function turn(cursors) {
    state.cursors = cursors;
    refresh().then(() => document.getElementById("main").focus());
  }

  function address() {
    const query = new URLSearchParams({ limit: PAGE });
    for (const name of ["status", "model", "owner"]) if (state[name]) query.set(name, state[name]);
    if (state.cursors.at(-1)) query.set("cursor", state.cursors.at(-1));
    return `jobs?${query}`;
  }

  function drawCounts(jobs) {
    show(counts, SHOWN.map((status) => h("button", {
      type: "button", class: `count ${status}`, "aria-pressed": String(state.status === status),
      "data-status": status,
    }, h("strong", null, String((jobs[status] ?? 0) + (status === "running" ? jobs.cancelling ?? 0 : 0))), ` ${status}`)));
  }
  counts.addEventListener("click", (event) => {
    const status = event.target.closest("button")?.dataset.status;
    if (status) change({ status: state.status === status ? "" : status });
  });

  function drawRows(items, standings) {
    const focused = body.contains(document.activeElement) ? document.activeElement.closest("tr")?.dataset.id : null;
    show(body, items.map((job) => row(job, standings[job.id], admin)));
    if (focused && !body.contains(document.activeElement)) body.querySelector(`tr[data-id="${CSS.escape(focused)}"] a`)?.focus();
    table.hidden = !items.length;
    const filtered = state.status || state.model || state.owner;
    show(empty, !items.length && (filtered
      ? h("p", null, "No job is like that.")
      : [h("h2", null, "No jobs yet"),
        h("p", null, "A job takes a model and a target and gives back a smaller checkpoint with a report."),
        h("p", null, h("a", { class: "button primary", href: "#/new" }, "Post the first job"))]));
    show(bars.querySelector("datalist"), [...new Set(items.map((job) => modelOf(job.spec)))].map((value) => h("option", { value })));
  }

  function drawPages() {
    const turns = [];
    if (state.cursors.length > 1) turns.push(h("button", { type: "button", "data-to": "newer" }, "← Newer"));
    if (state.next) turns.push(h("button", { type: "button", "data-to": "older" }, "Older →"));
    show(pages, turns);
  }
  pages.addEventListener("click", (event) => {
    const to = event.target.closest("button")?.dataset.to;
    if (to === "older") turn([...state.cursors, state.next]);
    if (to === "newer") turn(state.cursors.slice(0, -1));
  });

  async function standingsOf(items) {
    const running = items.filter((job) => ["running", "cancelling"].includes(job.status)).slice(0, WATCHED);
    const found = await Promise.all(running.map((job) => read(`jobs/${path(job.id)}/status`).catch(() => null)));
    return Object.fromEntries(running.map((job, i) => [job.id, found[i]]));
  }

  async function refresh() {
    clearTimeout(timer);
    const mine = ++asked;
    try {
      const [page, whole] = await Promise.all([read(address()), overview()]);
      const standings = await standingsOf(page.items);
      if (ended || mine !== asked) return;
      state.next = page.next_cursor;
      drawCounts(whole.jobs);
      drawRows(page.items, standings);
      drawPages();
    } catch (error) {
      if (!ended && mine === asked && !(error instanceof Unreachable)) complain(error); // the header says it
    }
    if (!ended && mine === asked && !document.hidden) timer = setTimeout(refresh, EVERY);
  }

  const seen = () => !document.hidden && refresh();
  document.addEventListener("visibilitychange", seen);
  refresh();
  return () => {
    ended = true;
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", seen);
  };
}
