// One job: how far it is, live; what was asked; what became of each layer; result, files, events.

import { engineLog } from "../cards/engine_log.js";
import { useIt } from "../cards/use.js";
import { samples } from "../cards/samples.js";
import { coded, h, show, tile } from "../parts/element.js";
import { files, reportLink, save } from "../parts/files.js";
import { layersOf, log } from "../parts/log.js";
import { complain, confirmed, copyButton, say } from "../parts/notice.js";
import { follow, path, post, read, ask } from "../parts/service.js";
import { announcement, badge, bar, isOver, steps } from "../parts/status.js";
import { table } from "../parts/table.js";
import { charts, curveOf, models, ofRatio, place as placed, smallestOf } from "../parts/sweep.js";
import { ago, between, bytes, count, duration, measure, modelOf, moment, nameOf, percent, target } from "../parts/words.js";

const DRAW_AFTER = 80;

function facts(pairs, kind = "") {
  return h("dl", { class: `facts ${kind}`.trim() }, pairs.filter(([, value]) => value !== null && value !== undefined).map(([name, value]) =>
    h("div", null, h("dt", null, name), h("dd", null, value))));
}

function card(title, ...content) {
  return h("section", { class: "card" }, h("h2", null, title), content);
}

function failure(error) {
  if (!error) return null;
  return h("section", { class: "card failure", role: "alert" },
    h("h2", null, "Why it failed"), h("p", null, coded(error.message)),
    error.hint && h("p", { class: "hint" }, h("strong", null, "What to do: "), coded(error.hint)),
    h("p", { class: "quiet" }, h("code", null, error.code)));
}

function warnings(found) {
  if (!found.length) return null;
  return card(`Warnings (${found.length})`, h("ul", { class: "warnings" }, found.map((warning) =>
    h("li", null, warning.layer !== null && warning.layer !== undefined ? h("strong", null, `Layer ${warning.layer}: `) : null, coded(warning.message)))));
}

function perplexities(result) {
  const rows = result.perplexity ?? [];
  if (!rows.length) return null;
  const recovered = rows.some((row) => row.recovered);
  const published = result.published ?? "pruned";
  const names = ["Perplexity on", "Window", "Tokens", "Dense", "Pruned", ...(recovered ? ["Recovered"] : []), `Change, ${published}`, "95%"];
  const change = (row) => (row[published] ?? row.pruned) / row.dense - 1;
  const interval = (row) => row[`${published}_ratio_interval`]?.map((end) => `×${measure(end, 3)}`).join("…") ?? "–";
  const window = (row) => (row.begins_with ? `${row.sequence_length}, ${row.begins_with}` : String(row.sequence_length));
  return table("Perplexity", "numbers", names, rows.map((row) => [
    row.text, window(row), count(row.tokens), measure(row.dense), measure(row.pruned),
    ...(recovered ? [measure(row.recovered)] : []),
    `${change(row) >= 0 ? "+" : "−"}${percent(Math.abs(change(row)))}`, interval(row),
  ]));
}

/** What the numbers mean, rest on, and suggest; of a sweep, those of its smallest model. */
function assessed(told, of) {
  if (!told) return null;
  return facts([
    [`Meaning${of}`, coded(told.meaning)], [`Evidence${of}`, coded(told.evidence.join(" "))],
    [`What to do${of}`, told.advice.length ? coded(told.advice.join(" ")) : null],
  ], "assessed");
}

/** The loaders that a fresh process read the files with, and how far each one's logits were off. */
function proved(proofs) {
  if (!proofs.length) return null;
  const most = new Map();
  for (const proof of proofs) {
    const loader = proof.loader.split(/[,(]/)[0].trim();
    most.set(loader, Math.max(most.get(loader) ?? 0, proof.max_difference));
  }
  const said = [...most].map(([loader, value]) => `${measure(value)}${most.size > 1 ? ` in ${loader}` : ""}`).join(", ");
  const whole = (proof) => `${proof.format}: differs by ${measure(proof.max_difference)} at most, allowed ${measure(proof.bound)}${proof.bound_is ? ` (${proof.bound_is})` : ""}`;
  return tile("Loads in", [...most.keys()].join(", "), h("span", { title: proofs.map(whole).join("\n") }, `logits differ by at most ${said}`));
}

function result(job, report, page) {
  const found = job.result;
  if (!found) return null;
  const model = report?.model;
  const of = ofRatio(smallestOf(found));
  return card("Result",
    h("div", { class: "tiles" },
      tile(`Parameters${of}`, `${count(found.parameters_before)} → ${count(found.parameters_after)}`, `${percent(found.ratio_achieved)} removed`),
      model && tile("Weights", `${bytes(model.bytes_before)} → ${bytes(model.bytes_after)}`, "in safetensors"),
      tile("Time", duration(found.seconds), `peak memory ${bytes(found.peak_memory_bytes)}`),
      proved(found.verified ?? [])),
    curveOf(job), models(found) ?? perplexities(found),
    assessed(found.assessment, of),
    h("p", { class: "actions" }, h("button", { type: "button", class: "small", "data-do": "report" }, "Download report.json"),
      page && reportLink(job.id)));
}

function specification(job) {
  const { spec } = job;
  if (!job.spec_understood) return card("What was asked", h("p", { class: "quiet" }, "Another version of the service took this job in."), asJson(job));
  const { calibration, evaluation, schedule } = spec;
  const shape = schedule.first_ratio !== null || schedule.last_ratio !== null
    ? `${schedule.shape}, ${schedule.first_ratio !== null ? `first ${schedule.first_ratio}` : `last ${schedule.last_ratio}`}` : schedule.shape;
  const labels = Object.entries(job.metadata);
  return card("What was asked",
    facts([
      ["Model", spec.model], ["Target", target(spec)], ["Method", spec.recipe ? `${spec.method}, recipe ${spec.recipe}` : spec.method], ["Schedule", shape],
      ["Calibration", `${calibration.source}: ${calibration.samples} × ${calibration.sequence_length} tokens, seed ${calibration.seed}`],
      ["Evaluation", evaluation.texts.length ? `${evaluation.texts.join(", ")}, windows of ${evaluation.sequence_lengths.join(", ")}` : "none"],
      ["Recovery", spec.recovery ? `${spec.recovery.method ?? "yes"}, on ${spec.recovery.source ?? "its own source"}` : null],
      ["Formats", spec.formats?.length ? [...new Set([...(spec.formats.includes("uniform") ? [] : ["exact"]), ...spec.formats])].join(", ") : null],
      ["Labels", labels.length ? h("span", { class: "labels" }, labels.map(([name, value]) => h("span", null, `${name}=${value}`))) : null],
    ]),
    asJson(job));
}

function asJson(job) {
  const text = JSON.stringify({ name: job.name, ...job.spec, metadata: job.metadata }, null, 2);
  return h("details", { "data-key": "json" }, h("summary", null, "As JSON"), h("pre", { tabindex: 0, role: "group", "aria-label": "Specification as JSON" }, text));
}

function times(job) {
  const when = (text) => text && h("time", { datetime: text, title: moment(text) }, ago(text));
  return facts([
    ["Owner", job.owner], ["Posted", when(job.created_at)], ["Started", when(job.started_at)],
    [job.finished_at ? "Took" : "Runs for", job.started_at ? duration(job.seconds ?? between(job.started_at)) : null],
    ["Stages", job.stages ? Object.entries(job.stages).map(([name, seconds]) => `${name} ${duration(seconds)}`).join(", ") : null],
    ["Attempt", job.attempt ? String(job.attempt) : null],
    ["Id", h("span", { class: "id" }, h("code", null, job.id), copyButton(job.id, "the job's id"))],
  ]);
}

function actions(status, id) {
  const button = (what, words, kind, title) => h("button", { type: "button", class: kind, "data-do": what, title }, words);
  const anew = status === "cancelled"; // which keeps no layers
  return [
    ["queued", "running"].includes(status) && button("cancel", "Cancel", "danger"),
    ["failed", "cancelled"].includes(status) && button("retry", "Retry", "primary", anew ? "A cancelled job keeps no layers: it starts from the first one." : null),
    anew && h("span", { class: "quiet" }, "from the first layer"),
    h("a", { class: "button", href: `#/new?like=${path(id)}` }, "Use as template"),
    isOver(status) && button("delete", "Delete", "danger"),
  ];
}

function headline(job, standing, live) {
  return [
    h("div", { class: "title" }, h("h1", null, nameOf(job)), badge(standing.status),
      h("span", { class: "quiet" }, `${modelOf(job.spec)}, ${target(job.spec)}`),
      !isOver(standing.status) && h("span", { class: `live ${live ? "on" : ""}` }, live ? "live" : "connecting…")),
    h("div", { class: "actions" }, actions(standing.status, job.id)),
  ];
}

const waiting = (position) => (position === 1 ? "next in the queue" : `number ${position} in the queue, after ${position - 1} other ${position === 2 ? "job" : "jobs"}`);

function progress(job, standing) {
  const { layers_done: done, layers_total: total } = standing;
  const now = isOver(standing.status) ? null : bar(standing, "Progress");
  const layers = [total && `${done} of ${layersOf(total, job.spec.ratios?.length)}`, standing.stage !== "prune" && standing.step].filter(Boolean).join("; ");
  const words = standing.queue_position ? waiting(standing.queue_position) : layers;
  return [steps(standing.stage, standing.status, job.spec.recovery), now && h("div", { class: "far" }, now, words && h("span", { class: "quiet" }, words))];
}

const DOINGS = {
  cancel: { ask: ["Cancel this job?", "The engine is stopped and its work is thrown away. A retry would begin anew.", "Cancel the job"], run: (at) => post(`${at}/cancel`), words: "The job is being cancelled." },
  retry: { run: (at) => post(`${at}/retry`), words: "The job is queued again." },
  delete: { ask: ["Delete this job?", "Its record, report and files are removed for good.", "Delete the job"], run: (at) => ask(at, { method: "DELETE" }), words: "The job is deleted." },
};

/** Nothing in place of what a job does not have; any other error is told. */
function none(error) {
  if (![404, 409].includes(error.status)) complain(error);
  return null;
}

/** Show a job in an element; resolves to a function that ends it.  Throws Refusal or Unreachable. */
export async function job(root, id) {
  const at = `jobs/${path(id)}`;
  const place = (name, attributes = {}) => h("div", { class: name, ...attributes });
  const parts = Object.fromEntries(["head", "steps", "times", "failure", "log", "warnings", "result", "use", "samples", "layers", "files", "spec"].map((name) => [name, place(`at-${name}`)]));
  const events = log();
  const rows = new Map();
  let current = null;
  let standing = null;
  let report = null;
  let published = null;
  let usage = null;
  let engineEnd = null;
  let page = false;
  let live = false;
  let timer = null;
  let last;
  let stream = null;
  let acting = false;
  let ended = false;

  const shown = h("div", null, parts.result, parts.use, parts.samples, parts.layers, parts.files);
  const columns = h("div", { class: "columns single" }, shown, h("div", null, parts.warnings, parts.spec, card("Events", events.element)));
  const spoken = h("p", { class: "unseen", role: "status" });
  root.append(spoken, h("p", { class: "back" }, h("a", { href: "#/" }, "← All jobs")), parts.head, parts.steps, parts.failure, parts.log, parts.times, columns);

  function draw() {
    timer = null;
    if (!current || ended) return;
    const over = isOver(standing.status);
    root.classList.toggle("changing", !over);
    show(spoken, announcement(standing));
    show(parts.head, headline(current, standing, live));
    show(parts.steps, progress(current, standing));
    show(parts.times, times(current));
    show(parts.failure, standing.status === "failed" ? failure(standing.error) : null);
    show(parts.warnings, warnings(current.warnings));
    show(parts.result, over && result(current, report, page));
    show(parts.log, engineLog(engineEnd, standing.status));
    show(parts.use, over && useIt(usage, report));
    show(parts.samples, over && samples(report));
    show(parts.spec, specification(current));
    show(parts.layers, rows.size ? card("Layers", charts(rows.values(), standing.layers_total, current.spec.ratios)) : null);
    show(parts.files, published && card("Files", published()));
    columns.classList.toggle("single", ![...shown.children].some((part) => part.hasChildNodes()));
  }
  const soon = () => { timer ??= setTimeout(draw, DRAW_AFTER); };

  async function load() {
    const [whole, now, done] = await Promise.all([read(at), read(`${at}/status`), read(`${at}/layers`)]);
    if (ended || !parts.head.isConnected) return; // another view stands there
    for (const row of done.items) rows.set(placed(row), row);
    current = whole;
    standing = now;
    document.title = `${nameOf(current)} – SlimGPT Service`;
    engineEnd = whole.attempt && whole.status !== "succeeded" ? await read(`${at}/log`).catch(none) : null;
    if (whole.status === "succeeded") {
      usage = await read(`${at}/usage`).catch(none);
      [report, published] = await Promise.all([
        read(`${at}/report`).catch(none), read(`${at}/artifacts`).then(
          (list) => {
            page = list.items.some((file) => file.path === "report.html");
            return () => files(id, list.items);
          }, (error) => () => h("p", null, error.message))]);
    }
    draw();
  }

  function hear(name, event, eventId) {
    if (name === "state" || name === "end") {
      if (event.status === "deleted") return gone();
      // The stream does not say a queued job's place: the one that is known stays.
      standing = event.status === "queued" ? { ...event, queue_position: event.queue_position ?? standing?.queue_position } : event;
    } else {
      events.add(name, event, eventId);
      if (name === "layer_finished") rows.set(placed(event), event);
      if (name === "warning" || name === "planned" || name === "status") reload();
    }
    if (name === "end") reload();
    soon();
  }

  /** A queued job's place changes with other jobs, of which its stream says nothing. */
  async function askPlace() {
    if (ended || document.hidden || standing?.status !== "queued") return;
    const now = await read(`${at}/status`).catch(() => null);
    if (now && !ended && standing?.status === "queued") { standing = now; soon(); }
  }
  let reloading = null;
  function reload() {
    // Many events at once, as when a stream begins, ask once.
    reloading ??= setTimeout(() => {
      reloading = null;
      if (!ended) load().catch(complain);
    }, 250);
  }

  function gone() {
    say("The job was deleted.");
    location.hash = "#/";
  }

  function listen() {
    if (ended || document.hidden || stream) return;
    const mine = new AbortController();
    stream = mine;
    const tell = (open) => {
      if (mine === stream) { live = open; soon(); }
    };
    follow(id, { hear, tell, signal: mine.signal, from: last }).then((heard) => {
      last = heard;
      if (mine === stream) { stream = null; live = false; soon(); }
    }, complain);
  }

  function silence() {
    stream?.abort();
    stream = null;
    live = false;
  }

  function watchVisibility() {
    // A hidden page holds no connection; what it missed comes with the id of the last event.
    if (document.hidden) silence();
    else if (standing && !isOver(standing.status)) listen();
  }

  async function act(event) {
    const button = event.target.closest("button[data-do]");
    if (!button) return;
    const what = button.dataset.do;
    if (what === "report") return save(`${at}/report`, `${id}-report.json`).catch(complain);
    if (what === "page") return save(`${at}/report.html`, `${id}-report.html`).catch(complain);
    const doing = DOINGS[what];
    if (acting || (doing.ask && !(await confirmed(...doing.ask)))) return;
    acting = true; // and not `disabled`, which would take the focus away
    try {
      await doing.run(at);
      say(doing.words);
      if (what === "delete") { location.hash = "#/"; return; }
      if (what === "retry") { rows.clear(); report = null; published = null; }
      await load();
      listen();
    } catch (error) {
      complain(error);
    }
    acting = false;
  }

  await load().catch((error) => {
    throw error.status === 404 ? Object.assign(error, { title: "There is no such job" }) : error;
  });
  const placing = setInterval(askPlace, 5000);
  root.addEventListener("click", act);
  document.addEventListener("visibilitychange", watchVisibility);
  listen();
  return () => {
    ended = true;
    root.classList.remove("changing");
    silence();
    clearTimeout(timer);
    clearInterval(placing);
    root.removeEventListener("click", act);
    document.removeEventListener("visibilitychange", watchVisibility);
  };
}
