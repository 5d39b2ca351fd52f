// What a plan says: sizes, memory, time, costs of a token, formats, and every model of a sweep.

import { layers } from "../parts/chart.js";
import { coded, h, tile } from "../parts/element.js";
import { bytes, count, duration, percent } from "../parts/words.js";

const BASES = {
  "same-model": (time) => `from ${time.jobs} finished ${time.jobs === 1 ? "job" : "jobs"} on this model`,
  "other-models": (time) => `from ${time.jobs} finished ${time.jobs === 1 ? "job" : "jobs"} on other models`,
  typical: () => "typical of two processor cores: no job has finished here yet",
};

/** "10–25 min", or one time where both ends read the same. */
function between(time) {
  const [low, high] = [duration(time.low), duration(time.high)];
  return low === high ? `≈ ${low}` : `${low} – ${high}`;
}

const less = (before, after) => `${percent(1 - after / before)} less`;

function cacheWords(before, after) {
  if (percent(1 - after / before) === "0.0%") return "no less than before";
  return `${less(before, after)}${after > 0 ? `; ${percent(before / after - 1)} more tokens fit` : ""}`;
}

/** Tiles of what one token costs; `of` says whose it is, `about` stands before what is an estimate. */
export function tokenTiles(costs, of = "", about = "") {
  if (!costs) return null;
  const { cache_bytes_before: cache, cache_bytes_after: left, operations_before: all, operations_after: fewer } = costs;
  return [
    tile(`KV cache a token${of}`, `${bytes(cache)} → ${about}${bytes(left)}`, cacheWords(cache, left)),
    tile(`Operations a token${of}`, `${count(all)} → ${about}${count(fewer)}`, `FLOPs of weight matrices, ${less(all, fewer)}`),
  ];
}

function points(plan, about) {
  if (!plan.points?.length) return null;
  return h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Models of the sweep" }, h("table", { class: "numbers", "aria-label": "Every model of the sweep" },
    h("thead", null, h("tr", null, ["Asked", "Parameters", "Weights", "Removed"].map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", null, plan.points.map((point) => h("tr", null, [
      percent(point.ratio), about + count(point.parameters_after), about + bytes(point.bytes_after), percent(point.ratio_achieved),
    ].map((value) => h("td", null, value)))))));
}

function formats(plan) {
  if (!plan.formats?.length) return null;
  return h("ul", { class: "formats", "aria-label": "Formats" }, plan.formats.map((one) =>
    h("li", { class: one.possible ? "possible" : "impossible" }, h("strong", null, one.format), one.possible ? " possible" : coded(` not possible: ${one.reason}`))));
}

/** The card of a plan. */
export function outlook(plan) {
  const several = plan.points?.length > 0;
  const about = plan.provisional ? "≈\u00a0" : ""; // the sign stays with its number
  const smallest = several ? ", smallest" : "";
  return h("section", { class: "card plan", "aria-label": "Plan" }, h("h2", null, several ? `Plan of ${plan.points.length} models` : "Plan"),
    (plan.warnings ?? []).map((warning) => h("p", { class: "warning" }, coded(`Warning: ${warning}`))),
    h("div", { class: "tiles" },
      tile(`Parameters${smallest}`, `${count(plan.parameters_before)} → ${about}${count(plan.parameters_after)}`, `${percent(plan.ratio_achieved)} removed`),
      tile(`Weights${smallest}`, `${bytes(plan.bytes_before)} → ${about}${bytes(plan.bytes_after)}`, `channels in multiples of ${plan.channel_multiple}`),
      plan.time && tile("Time, once it runs", between(plan.time), BASES[plan.time.basis]?.(plan.time) ?? ""),
      tile("Memory while pruning", `≈ ${bytes(plan.peak_memory_bytes)}`, `and ${bytes(plan.activation_bytes)} of activations`),
      tokenTiles(plan.token_costs, smallest, about)),
    points(plan, about), formats(plan),
    plan.provisional && h("p", { class: "quiet" }, "≈ marks estimates, and the layers below are estimates, too: the run decides their sizes once it has surveyed the model."),
    layers(plan.layers, plan.layers.length));
}
