// Jobs side by side: quality against size, a line a method; what each measured; errors of all layers on
// one axis.

import { curve } from "../compare/curve.js";
import { curvesOf, modelsOf, onText, textsOf, times } from "../compare/measures.js";
import { errors, mostError } from "../parts/chart.js";
import { h, show } from "../parts/element.js";
import { path, read } from "../parts/service.js";
import { badge, isOver } from "../parts/status.js";
import { table } from "../parts/table.js";
import { count, measure, modelOf, nameOf, percent } from "../parts/words.js";

const EVERY = 5000;
const MOST = 24;

const called = (model) => (model.job.spec.ratios ? `${model.name}: ${percent(model.ratio)} removed` : model.name);
const linked = (job, words) => h("a", { href: `#/jobs/${path(job.id)}` }, words);

function plot(models, key, choose) {
  const texts = textsOf(models);
  if (!texts.length) return null;
  const found = onText(models, key);
  const { series, dense, axis } = curvesOf(found);
  return h("section", { class: "card" }, h("h2", null, "Quality against size"),
    texts.length > 1 && h("div", { class: "filters" }, h("label", null, h("span", null, "Measured on"),
      h("select", { onchange: (event) => choose(event.currentTarget.value) }, texts.map((text) => h("option", { value: text, selected: text === key }, text))))),
    curve(`Perplexity${found.same ? "" : ", × dense,"} on ${key}`, series, dense, axis),
    !found.same && h("p", { class: "note" }, "These jobs were measured on different windows of text, or it is not known that they were the same: their perplexities cannot be compared. Each is shown as a multiple of its own dense model's, on the same windows."));
}

function numbers(models, key) {
  const rows = [...models].sort((a, b) => b.after - a.after).map((model) => {
    const row = model.measured.find((one) => one.key === key);
    return Object.assign([
      linked(model.job, called(model)), model.model, model.method, `${count(model.before)} → ${count(model.after)}`, percent(model.ratio),
      row ? `${measure(row.dense)} → ${measure(row.value)}` : "not measured", row ? times(row.value / row.dense) : "–",
      row?.tokens ? h("code", { title: row.tokens }, row.tokens.slice(0, 8)) : "not known",
    ], { key: `${model.job.id} ${model.point}` });
  });
  return rows.length > 0 && h("section", { class: "card" }, h("h2", null, "Models"),
    table("Models", "wide", ["Job", "Model", "Method", "Parameters", "Removed", "Perplexity", "Times dense", "Windows"], rows),
    h("p", { class: "quiet" }, "Perplexities compare only if their windows, the evaluated tokens, have the same hash."));
}

function unfinished(jobs) {
  const open = jobs.filter((job) => !modelsOf(job).length);
  return open.length > 0 && h("section", { class: "card" }, h("h2", null, "Without a result"),
    h("ul", { class: "plain-list" }, open.map((job) => h("li", { "data-key": job.id }, linked(job, nameOf(job)), " ", badge(job.status), h("span", { class: "quiet" }, ` ${modelOf(job.spec)}`)))));
}

function layerErrors(models, layers) {
  const charts = models.map((model) => [model, (layers.get(model.job.id) ?? []).filter((row) => (row.point ?? 0) === model.point)]).filter(([, rows]) => rows.length);
  const worst = mostError(charts.flatMap(([, rows]) => rows));
  return charts.length > 0 && h("section", { class: "card" }, h("h2", null, "Errors of the layers, on one axis"),
    h("div", { class: "charts" }, charts.map(([model, rows]) => h("section", { "data-key": `errors ${model.job.id} ${model.point}` },
      h("h3", null, called(model)), errors(rows, rows.at(-1).layer + 1, worst)))));
}

/** Show jobs side by side in an element; returns a function that ends it. `ids`: separated by commas. */
export function compare(root, ids) {
  const wanted = [...new Set(ids.split(",").filter(Boolean))].slice(0, MOST);
  const body = h("div", { class: "comparison" });
  const layers = new Map();
  let jobs = [];
  let gone = 0;
  let text = null;
  let timer;
  let ended = false;
  root.append(h("p", { class: "back" }, h("a", { href: "#/" }, "← All jobs")), h("h1", null, "Comparison"), body);

  function draw() {
    const models = jobs.flatMap(modelsOf);
    const key = text ?? textsOf(models)[0];
    show(body,
      !wanted.length && h("p", null, "Choose jobs by their tick boxes in the list."),
      gone > 0 && h("p", { class: "note" }, gone === 1 ? "One of the jobs is not there any more." : `${gone} of the jobs are not there any more.`),
      plot(models, key, (chosen) => { text = chosen; draw(); }),
      numbers(models, key), unfinished(jobs), layerErrors(models, layers));
  }

  async function load() {
    const found = await Promise.all(wanted.map((id) => read(`jobs/${path(id)}`).catch((error) => {
      if (error.status === 404) return null;
      throw error;
    })));
    if (ended) return;
    jobs = found.filter(Boolean);
    gone = found.length - jobs.length;
    await Promise.all(jobs.filter((job) => isOver(job.status) && !layers.has(job.id)).map(async (job) =>
      layers.set(job.id, (await read(`jobs/${path(job.id)}/layers`)).items)));
    if (!ended) draw();
  }

  async function watch() {
    try {
      if (!document.hidden) await load();
    } catch (error) {
      if (error.status === 401) return;
      if (!jobs.length && !ended) show(body, h("p", { class: "fault", role: "alert" }, error.message));
    }
    const open = !jobs.length || jobs.some((job) => !isOver(job.status));
    if (!ended && wanted.length && open) timer = setTimeout(watch, EVERY);
  }

  if (wanted.length) watch();
  else draw();
  return () => {
    ended = true;
    clearTimeout(timer);
  };
}
