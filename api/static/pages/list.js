// The table of jobs: counts, filters, order, pages, what is chosen, and how far the running ones are.

import { pointsOf } from "../compare/measures.js";
import { addressOf, isFiltered, requestOf, stateOf } from "../list/address.js";
import { choose, chosenBar, clear, tickBox } from "../list/choice.js";
import { fillIn, filters } from "../list/filters.js";
import { coded, h, show } from "../parts/element.js";
import { complain } from "../parts/notice.js";
import { path, read, Unreachable } from "../parts/service.js";
import { badge, bar, isOver } from "../parts/status.js";
import { ago, count, duration, measure, modelOf, moment, nameOf, percent, target } from "../parts/words.js";

const EVERY = 5000;
const PAGE = 25;
const WATCHED = 10; // running jobs whose standing is asked for: a request each
const COLUMNS = [
  ["Status", "status"], ["Name", "name"], ["Target", "ratio"], ["Progress", "progress"],
  ["Parameters", "parameters"], ["Perplexity", "perplexity"], ["Owner", "owner"], ["Posted", "created_at"],
];
const SHOWN = ["running", "queued", "succeeded", "failed", "cancelled"];

// One row, one model; of a sweep, the range over its models: 260K → 208K…130K.
const range = (values, words) => [...new Set([values[0], values.at(-1)].map(words))].join("…");

function size(job) {
  const of = job.result ?? job.plan;
  if (!of?.parameters_before) return "–";
  const after = pointsOf(of).map((model) => model.parameters_after).sort((a, b) => b - a);
  return [h("span", null, `${count(of.parameters_before)} → ${range(after, count)}`), " ",
    h("span", { class: "quiet" }, `−${range(after.map((left) => 1 - left / of.parameters_before), percent)}`)];
}

function perplexity(job) {
  const { result } = job;
  const first = result?.perplexity?.[0];
  if (!first) return "–";
  const measured = result.points?.length ? result.points.map((point) => [point.perplexity, point.published]) : [[first, result.published]];
  const values = measured.map(([found, published]) => found?.[published] ?? found?.pruned).filter(Number.isFinite).sort((a, b) => a - b);
  return h("span", { title: `${first.text}, windows of ${first.sequence_length} tokens${first.begins_with ? ` from ${first.begins_with}` : ""}` },
    `${measure(first.dense)} → ${range(values, (value) => measure(value))}`);
}

function progress(job, standing) {
  if (job.status === "failed") return h("span", { class: "reason" }, coded(job.error?.message ?? "no reason was recorded"));
  if (job.status === "succeeded") return h("span", { class: "quiet" }, `took ${duration(job.seconds)}`);
  if (isOver(job.status)) return h("span", { class: "quiet" }, job.layers_done ? `after ${job.layers_done} layers` : "before it began");
  if (job.status === "queued") return h("span", { class: "quiet" }, job.attempt ? "waits for another attempt" : "waits for a worker");
  const now = standing ?? { percent: 0, stage: job.stage };
  return [h("span", { class: "stage", title: now.step ?? "" }, now.stage ?? "start"), bar(now, `Progress of ${nameOf(job)}`)];
}

function cells(job, standing, admin) {
  const labels = Object.entries(job.metadata);
  return [
    ["Status", badge(standing?.status ?? job.status)],
    ["Name", [h("a", { class: "name", href: `#/jobs/${path(job.id)}` }, nameOf(job)),
      h("span", { class: "quiet model" }, modelOf(job.spec)),
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
  const changing = !isOver(standing?.status ?? job.status);
  return h("tr", { role: "row", "data-id": job.id, "data-key": job.id, class: changing ? "changing" : null },
    h("td", { role: "cell", class: "choose" }, tickBox(job.id, nameOf(job))),
    cells(job, standing, admin).map(([name, content]) =>
      h("td", { role: "cell", "data-label": name, class: `${name.toLowerCase()} ${content === "–" ? "none" : ""}` }, h("div", null, content))));
}

function head([name, key], sort) {
  const sorted = sort.replace("-", "") === key ? (sort.startsWith("-") ? "descending" : "ascending") : null;
  return h("th", { role: "columnheader", scope: "col", "aria-sort": sorted },
    h("button", { type: "button", class: "sort", "data-sort": key }, name, h("span", { "aria-hidden": "true" }, { ascending: " ▲", descending: " ▼" }[sorted])));
}

/** What a click on a column's head asks for: texts from A, numbers from the greatest; again: the other way. */
function next(sort, key) {
  const first = ["name", "status", "owner"].includes(key) ? key : `-${key}`;
  const other = first === key ? `-${key}` : key;
  return sort === first ? other : first;
}

/** Show the list that a query names in an element; returns a function that ends it. */
export function list(root, { admin, overview, query }) {
  const state = stateOf(query);
  const columns = COLUMNS.filter(([, key]) => admin || key !== "owner");
  const counts = h("div", { class: "counts", role: "group", "aria-label": "Jobs by status" });
  const heads = h("tr", { role: "row" });
  const body = h("tbody", { role: "rowgroup" });
  const table = h("table", { class: "jobs", role: "table", "aria-label": "Jobs" }, h("thead", { role: "rowgroup" }, heads), body);
  const empty = h("div", { class: "empty", role: "status" });
  const pages = h("nav", { class: "pages", "aria-label": "Pages" });
  const chosen = h("div", { class: "chosen", role: "region", "aria-label": "Chosen jobs" });
  const bars = filters(state, columns, admin, change);
  let trail = history.state?.trail ?? []; // cursors of the pages before; a link from elsewhere has none
  let shown = [];
  let nextCursor = null;
  let timer;
  let asked = 0;
  let ended = false;

  root.append(h("h1", { class: "unseen" }, "Jobs"), counts, bars, table, empty, pages, chosen);

  /** Change what is shown, and the address with it; what is typed makes no steps to go back. */
  function change(more, typed = false, before = []) {
    if (ended) return null;
    Object.assign(state, { cursor: "", page: "1" }, more);
    trail = before;
    history[typed ? "replaceState" : "pushState"]({ trail }, "", addressOf(state));
    fillIn(bars, state);
    return refresh();
  }

  function turn(cursor, page, before) {
    change({ cursor, page: String(page) }, false, before)?.then(() => document.getElementById("main").focus());
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

  function drawRows() {
    show(heads, h("th", { role: "columnheader", scope: "col" }, h("span", { class: "unseen" }, "Choose")), columns.map((column) => head(column, state.sort)));
    show(body, shown.map(([job, standing]) => row(job, standing, admin)));
    table.hidden = !shown.length;
    show(empty, !shown.length && (isFiltered(state)
      ? h("p", null, "No job is like that.")
      : [h("h2", null, "No jobs yet"),
        h("p", null, "A job takes a model and a target and gives back a smaller checkpoint with a report."),
        h("p", null, h("a", { class: "button primary", href: "#/new" }, "Post the first job"))]));
    show(chosen, chosenBar());
  }
  heads.addEventListener("click", (event) => {
    const key = event.target.closest("button")?.dataset.sort;
    if (key) change({ sort: next(state.sort, key) });
  });
  body.addEventListener("change", (event) => {
    choose(event.target.dataset.choose, event.target.checked);
    drawRows();
  });
  chosen.addEventListener("click", (event) => {
    if (event.target.closest("[data-do=clear]")) { clear(); drawRows(); }
  });

  function drawPages() {
    const page = Number(state.page) || 1;
    const button = (to, words) => h("button", { type: "button", "data-to": to }, words);
    show(pages,
      state.cursor && (trail.length ? button("previous", "← Previous page") : button("first", "← First page")),
      (state.cursor || nextCursor) && h("span", { class: "quiet" }, `Page ${page}`),
      nextCursor && button("next", "Next page →"));
  }
  pages.addEventListener("click", (event) => {
    const to = event.target.closest("button")?.dataset.to;
    const page = Number(state.page) || 1;
    if (to === "next") turn(nextCursor, page + 1, [...trail, state.cursor]);
    if (to === "previous") turn(trail.at(-1), page - 1, trail.slice(0, -1));
    if (to === "first") turn("", 1, []);
  });

  async function standingsOf(items) {
    const running = items.filter((job) => ["running", "cancelling"].includes(job.status)).slice(0, WATCHED);
    const found = await Promise.all(running.map((job) => read(`jobs/${path(job.id)}/status`).catch(() => null)));
    return new Map(running.map((job, i) => [job.id, found[i]]));
  }

  async function refresh() {
    clearTimeout(timer);
    const mine = ++asked;
    try {
      const [page, whole] = await Promise.all([read(requestOf(state, PAGE)), overview()]);
      const standings = await standingsOf(page.items);
      if (ended || mine !== asked) return;
      nextCursor = page.next_cursor;
      shown = page.items.map((job) => [job, standings.get(job.id)]);
      drawCounts(whole.jobs);
      drawRows();
      drawPages();
    } catch (error) {
      if (!ended && mine === asked && !(error instanceof Unreachable)) complain(error); // the line across the top says it
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
