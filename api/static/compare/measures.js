// What jobs measured, and which of it may stand side by side.
//
// A perplexity belongs to the tokens that it was measured on: rows whose windows have the same hash
// share an axis. All others are shown as a multiple of their own dense model's.

import { count, measure, modelOf, nameOf, percent } from "../parts/words.js";

const keyOf = (row) => `${row.text}, ${row.sequence_length} tokens${row.begins_with ? ` from ${row.begins_with}` : ""}`;

const OWN_SCHEDULES = { slimgpt: "log", flap: "global", magnitude: "uniform", "wanda-sp": "uniform" };
const SCHEDULES = { paper: "log", measured: "measured" };

/** The method, its recipe, and the schedule where it is not the recipe's, or the method's own: as in a report. */
function methodOf({ spec }) {
  const { method = "a method", recipe, schedule } = spec;
  const usual = recipe ? SCHEDULES[recipe] : OWN_SCHEDULES[method];
  const shape = schedule?.shape !== usual && schedule?.shape;
  return [method, recipe && `recipe ${recipe}`, shape && `schedule ${shape}`, spec.recovery && "recovered"].filter(Boolean).join(", ");
}

function valueOf(row, published) {
  const value = published && Number.isFinite(row[published]) ? row[published] : row.recovered ?? row.pruned;
  return Number.isFinite(value) && Number.isFinite(row.dense) ? value : null;
}

/** The parts of a result, or of a plan, that tell of one model: itself, or the points of a sweep. */
export const pointsOf = (of) => (of?.points?.length ? of.points : [of]);

/** The models that a job made: one, or each of a sweep's. */
export function modelsOf(job) {
  const { result } = job;
  if (!result?.parameters_after) return [];
  return pointsOf(result).map((made, point) => ({
    job, point, name: nameOf(job), method: methodOf(job), model: modelOf(job.spec),
    ratio: made.ratio_achieved, before: result.parameters_before, after: made.parameters_after,
    measured: (result.perplexity ?? []).filter((row) => (row.point ?? 0) === point)
      .map((row) => ({ key: keyOf(row), tokens: row.sha256 || null, dense: row.dense, value: valueOf(row, made.published ?? result.published) }))
      .filter((row) => row.value !== null),
  }));
}

/** The texts on which models were measured, those of most models first. */
export function textsOf(models) {
  const found = new Map();
  for (const key of models.flatMap((model) => model.measured.map((row) => row.key))) found.set(key, (found.get(key) ?? 0) + 1);
  return [...found].sort((a, b) => b[1] - a[1]).map(([key]) => key);
}

/** Models with what they measured on a text, and whether all did so on the same tokens. */
export function onText(models, key) {
  const rows = models.flatMap((model) => {
    const row = model.measured.find((one) => one.key === key);
    return row ? [{ ...model, ...row, times: row.value / row.dense }] : [];
  });
  const jobs = new Set(rows.map((row) => row.job.id));
  const tokens = new Set(rows.map((row) => row.tokens));
  return { rows, same: jobs.size === 1 || (tokens.size === 1 && !tokens.has(null)) };
}

/** Series, dense references and axes of a curve. */
export function curvesOf({ rows, same }) {
  const models = new Set(rows.map((row) => `${row.model} ${row.before}`));
  const oneModel = models.size === 1;
  const x = (parameters, row) => (oneModel ? parameters : parameters / row.before);
  const y = (value, row) => (same ? value : value / row.dense);
  const series = new Map();
  const dense = new Map();
  for (const row of rows) {
    const line = oneModel ? row.method : `${row.model}, ${row.method}`;
    if (!series.has(line)) series.set(line, []);
    series.get(line).push({ x: x(row.after, row), y: y(row.value, row), words: `${row.name}: ${count(row.after)} parameters, perplexity ${measure(row.value)}, ${times(row.times)} dense` });
    const point = { x: x(row.before, row), y: y(row.dense, row) };
    dense.set(`${point.x} ${point.y}`, { ...point, words: `dense: ${count(row.before)} parameters, perplexity ${measure(row.dense)}` });
  }
  return {
    series: [...series].map(([name, points]) => ({ name, points })),
    dense: [...dense.values()],
    axis: { x: oneModel ? "parameters" : "share of the dense parameters", y: same ? "perplexity" : "perplexity, times dense", size: oneModel ? count : percent },
  };
}

/** 2.1934 → "×2.19". */
export const times = (value) => `×${measure(value, 3)}`;
