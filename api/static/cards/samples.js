// Texts that the models wrote after the same beginnings, side by side.

import { h } from "../parts/element.js";

const MODELS = ["dense", "pruned", "recovered"];

function text(one) {
  const written = MODELS.filter((name) => typeof one[name] === "string");
  return h("figure", { class: "sample" }, h("figcaption", null, `“${one.prompt}”`),
    h("div", { class: "sides" }, written.map((name) => h("div", null, h("h3", null, name), h("p", null, one[name] || h("span", { class: "quiet" }, "(nothing)"))))));
}

function of(found, title) {
  if (!found?.texts?.length) return null;
  return h("div", { class: "part" }, title && h("h3", null, title),
    h("p", { class: "quiet" }, `Each model continues the same beginnings of ${found.source} with the same random numbers: seed ${found.seed}, temperature ${found.temperature}. What differs is the models' own.`),
    found.texts.map(text));
}

/** The card of sample texts; none where the report has none. */
export function samples(report) {
  const parts = (report?.points ?? [{ report, ratio: null }]).map((point) =>
    of(point.report?.samples, point.ratio === null ? "" : `Ratio ${point.ratio}`)).filter(Boolean);
  return parts.length ? h("section", { class: "card samples", "aria-label": "Sample texts" }, h("h2", null, "Sample texts"), parts) : null;
}
