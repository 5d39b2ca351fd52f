// What a plan says: sizes, memory, time, costs of a token, formats, and every model of a sweep.

import { layers } from "../parts/chart.js";
import { h, tile } from "../parts/element.js";
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

const saved = (before, after) => `${percent(1 - after / before)} less`;

/** Tiles of what one token costs. */
export function tokenTiles(costs) {
  if (!costs) return null;
  return [
    tile("KV cache a token", `${bytes(costs.cache_bytes_before)} → ${bytes(costs.cache_bytes_after)}`, `${saved(costs.cache_bytes_before, costs.cache_bytes_after)}; so many more tokens fit`),
    tile("Operations a token", `${count(costs.operations_before)} → ${count(costs.operations_after)}`, `FLOPs of weight matrices, ${saved(costs.operations_before, costs.operations_after)}`),
  ];
}

function points(plan) {
  if (!plan.points?.length) return null;
  return h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Models of the sweep" }, h("table", { class: "numbers", "aria-label": "Every model of the sweep" },
    h("thead", null, h("tr", null, ["Asked", "Parameters", "Weights", "Removed"].map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", null, plan.points.map((point) => h("tr", null, [
      percent(point.ratio), count(point.parameters_after), bytes(point.bytes_after), percent(point.ratio_achieved),
    ].map((value) => h("td", null, value)))))));
}

function formats(plan) {
  if (!plan.formats?.length) return null;
  return h("ul", { class: "formats", "aria-label": "Formats" }, plan.formats.map((one) =>
    h("li", { class: one.possible ? "possible" : "impossible" }, h("strong", null, one.format), one.possible ? " possible" : ` not possible: ${one.reason}`)));
}

/** The card of a plan. */
export function outlook(plan) {
  const several = plan.points?.length > 0;
  return h("section", { class: "card plan", "aria-label": "Plan" }, h("h2", null, several ? `Plan of ${plan.points.length} models` : "Plan"),
    (plan.warnings ?? []).map((warning) => h("p", { class: "warning" }, `Warning: ${warning}`)),
    h("div", { class: "tiles" },
      tile(several ? "Parameters of the smallest" : "Parameters", `${count(plan.parameters_before)} → ${count(plan.parameters_after)}`, `${percent(plan.ratio_achieved)} removed`),
      tile("Weights", `${bytes(plan.bytes_before)} → ${bytes(plan.bytes_after)}`, `channels in multiples of ${plan.channel_multiple}`),
      plan.time && tile("Time, once it runs", between(plan.time), BASES[plan.time.basis]?.(plan.time) ?? ""),
      tile("Memory while pruning", `≈ ${bytes(plan.peak_memory_bytes)}`, `and ${bytes(plan.activation_bytes)} of activations`),
      tokenTiles(plan.token_costs)),
    points(plan), formats(plan),
    plan.provisional && h("p", { class: "quiet" }, "The layers' shares are only decided during the run."),
    layers(plan.layers, plan.layers.length));
}
