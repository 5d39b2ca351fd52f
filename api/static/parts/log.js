// The log of a job's events, a line each, in words.

import { h } from "./element.js";
import { clock, count, duration, measure, percent } from "./words.js";

const MOST = 500;

/** "8 layers"; of a sweep, whose models have as many each, "2 models × 8 layers". */
export const layersOf = (total, models) => (models > 1 ? `${models} models × ${total / models} layers` : `${total} layers`);

const WORDS = {
  stage_started: (e) => `stage ${e.stage} begins`,
  stage_finished: (e) => `stage ${e.stage} took ${duration(e.seconds)}`,
  planned: (e) => `plan: ${count(e.parameters_before)} → ${e.points?.length ? e.points.map((point) => count(point.parameters_after)).join(", ") : count(e.parameters_after)} parameters in ${layersOf(e.layers, e.points?.length)}`,
  progress: (e) => `${e.stage}: ${e.done} of ${e.total}${e.what ? ` ${e.what}` : ""}`,
  layer_finished: (e) =>
    `${e.points > 1 ? `model ${e.point + 1}, ` : ""}layer ${e.layer} (${(e.point ?? 0) * (e.layers_total / (e.points ?? 1)) + e.layer + 1} of ${e.layers_total}${e.resumed ? ", from an earlier attempt" : ""}): ` +
    `heads ${e.heads_before} → ${e.heads}, channels ${e.channels_before} → ${e.channels}, ` +
    `errors ${measure(e.attention_error)} and ${measure(e.ffn_error)}, ${duration(e.seconds)}`,
  warning: (e) => `warning: ${e.message}`,
  loss: (e) => `recovery, step ${e.step} of ${e.steps}: loss ${measure(e.train)}${e.text ? `, on held-out text ${measure(e.text)}` : ""}`,
  perplexity: (e) => `${e.point ? `model ${e.point + 1}, ` : ""}perplexity on ${e.text}: ${measure(e.dense)} dense, ${measure(e.pruned)} pruned` +
    (e.recovered ? `, ${measure(e.recovered)} recovered` : ""),
  verified: (e) => `verified: ${e.format ?? "exact"}, by ${e.loader}, greatest difference ${measure(e.max_difference)}`,
  result: (e) => `result: ${percent(e.ratio_achieved)} of all parameters removed`,
  failed: (e) => `failed: ${e.message}`,
  status: (e) => `the job is ${e.status}`,
};

function words(name, event) {
  try {
    return WORDS[name]?.(event) ?? `${name}: ${JSON.stringify(event)}`;
  } catch {
    return `${name}: ${JSON.stringify(event)}`;
  }
}

/** A log: `element`, and `add(name, event, id)`. Progress within a stage overwrites itself. */
export function log() {
  const lines = h("ol");
  const element = h("div", { class: "log", role: "log", "aria-live": "off", tabindex: 0, "aria-label": "Events" }, lines);
  let counting = null;

  function add(name, event, id) {
    const at = Number(id?.split("-")[0]) || Date.now();
    const line = h("li", { class: name === "failed" || name === "warning" ? name : null },
      h("time", { datetime: new Date(at).toISOString() }, clock(at)), " ", words(name, event));
    const below = element.scrollHeight - element.scrollTop - element.clientHeight < 40;
    if (name === "progress" && counting) counting.replaceWith(line);
    else lines.append(line);
    counting = name === "progress" ? line : null;
    while (lines.children.length > MOST) lines.firstChild.remove();
    if (below) element.scrollTop = element.scrollHeight;
  }
  return { element, add };
}
