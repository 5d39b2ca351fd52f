// A job of several ratios: its layers model by model, and what came of each.

import { curve } from "../compare/curve.js";
import { curvesOf, modelsOf, onText, textsOf } from "../compare/measures.js";
import { layers, mostError } from "./chart.js";
import { h } from "./element.js";
import { table } from "./table.js";
import { count, measure, percent } from "./words.js";

/** The key of a layer's row: layers of several models have the same numbers. */
export const place = (row) => `${row.point ?? 0}:${row.layer}`;

/** The smallest of a sweep's models, in a result or a report; null for one model. */
export const smallestOf = (sweep) => (sweep?.points?.length
  ? sweep.points.reduce((least, point) => ((point.ratio ?? 0) > (least.ratio ?? 0) ? point : least)) : null);

/** ", ratio 0.4": whose numbers they are, after a name. */
export const ofRatio = (point) => (point ? `, ratio ${Number(point.ratio.toPrecision(6))}` : "");

/** Charts of the layers that are done, one after the other for each of a sweep's models. */
export function charts(rows, total, ratios) {
  const sorted = [...rows].sort((a, b) => (a.point ?? 0) - (b.point ?? 0) || a.layer - b.layer);
  if (!ratios) return layers(sorted, total);
  const worst = mostError(sorted);
  return ratios.map((ratio, point) => {
    const mine = sorted.filter((row) => (row.point ?? 0) === point);
    return mine.length > 0 && h("section", { "aria-label": `Layers at ratio ${ratio}` },
      h("h3", null, `Ratio ${ratio}`), layers(mine, total && total / ratios.length, worst));
  });
}

/** The curve of a sweep: quality against size on its first text. */
export function curveOf(job) {
  const made = modelsOf(job);
  const [text] = textsOf(made);
  if (!job.result?.points?.length || !text) return null;
  const { series, dense, axis } = curvesOf(onText(made, text));
  return curve(`Perplexity on ${text}`, series, dense, axis);
}

/** The models of a sweep side by side, with their perplexity on each text. */
export function models(result) {
  const points = result.points ?? [];
  if (!points.length) return null;
  const measured = (point) => (result.perplexity ?? []).filter((row) => row.point === point);
  const head = ["Ratio", "Folder", "Parameters", "Removed",
    ...measured(0).map((row) => `${row.text}, ${row.sequence_length} tokens${row.begins_with ? ` from ${row.begins_with}` : ""}`)];
  const said = (row) => [row.dense, row.pruned, row.recovered].filter((value) => typeof value === "number").map((value) => measure(value)).join(" → ");
  return table("Models", "numbers", head, points.map((made, point) => [
    String(made.ratio), made.folder, count(made.parameters_after), percent(made.ratio_achieved), ...measured(point).map(said),
  ]));
}
