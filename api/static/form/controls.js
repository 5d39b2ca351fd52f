// Formats, tasks, recovery, timing and sample texts as controls, and the parts of a request they make.

import { h } from "../parts/element.js";
import { field, names, number, select, text } from "./fields.js";

const FORMATS = {
  gguf: "GGUF, for llama.cpp, Ollama and LM Studio",
  padded: "padded with zeros to a stock model, as large as before",
  uniform: "a stock model without remote code; all layers alike",
};
const TASKS = {
  commonsense: "the paper's seven tasks", arc_easy: "ARC, easy", arc_challenge: "ARC, challenge",
  hellaswag: "HellaSwag", piqa: "PIQA", winogrande: "WinoGrande", mmlu: "MMLU, five shots",
};
const GGUF_TYPES = ["f32", "f16", "bf16", "q8_0"];

function box(name, checked, words, help) {
  return h("label", { class: "tick" }, h("input", { type: "checkbox", name, checked }),
    h("span", null, words, help && h("span", { class: "quiet" }, ` – ${help}`)));
}

const digits = (value, more) => text(value === undefined || value === null ? "" : String(value), { inputmode: "numeric", ...more });

function group(name, legend, ...content) {
  return h("fieldset", { name, id: `f-${name}` }, h("legend", null, legend), content, h("p", { id: `e-${name}`, class: "fault" }));
}

function shownWith(tick, part) {
  const show = () => { part.hidden = !tick.checked; };
  tick.addEventListener("change", show);
  show();
}

function formats(spec) {
  const chosen = spec.formats ?? [];
  const type = field("gguf-type", "Precision of GGUF", select([["", "the model's own"], ...GGUF_TYPES.map((name) => [name, name])], spec.gguf_type ?? ""), "");
  const made = group("formats", "Formats beside the checkpoint",
    Object.entries(FORMATS).map(([name, words]) => box(`format-${name}`, chosen.includes(name), name, words)), type);
  shownWith(made.querySelector('[name="format-gguf"]'), type);
  return made;
}

function tasks(evaluation) {
  const asked = evaluation.tasks ?? [];
  const plain = asked.map((task) => task.name ?? task);
  const others = plain.filter((name) => !(name in TASKS));
  return group("tasks", "Questions to ask both models",
    h("div", { class: "ticks" }, Object.entries(TASKS).map(([name, words]) => box(`task-${name}`, plain.includes(name), name, words))),
    h("div", { class: "row" },
      field("other-tasks", "Other tasks", text(others.join(", ")), "Of lm-evaluation-harness, separated by commas."),
      field("task-limit", "Questions of each", digits(asked[0]?.limit), "Empty: all."),
      field("tasks-source", "Questions from", text(evaluation.tasks_source ?? "", { placeholder: "the hub" }), "local:FOLDER with a file for each task; without a network the hub does not answer.")));
}

function recovery(spec) {
  const before = spec.recovery ?? {};
  const part = h("div", { class: "part" }, h("div", { class: "row" },
    field("recovery-method", "Learns", select([["lora", "the answers (LoRA)"], ["distillation", "from the dense model"]], before.method ?? "lora"), ""),
    field("recovery-source", "From", text(before.source ?? "alpaca"), "alpaca, local:FILE or upload:ID: instructions, conversations or text."),
    field("recovery-samples", "Rows", digits(before.samples), "Empty: all."),
    field("recovery-minutes", "Minutes", digits(before.minutes), "Empty: one pass over the rows.")));
  const made = group("recovery", "Recovery",
    box("recover", Boolean(spec.recovery), "Train the pruned model afterwards", "what is better is published"), part);
  shownWith(made.querySelector('[name="recover"]'), part);
  return made;
}

function measures(evaluation, fresh) {
  const timing = evaluation.inference ?? {};
  const part = h("div", { class: "part" }, field("batches", "Sequences at once", text((timing.batch_sizes ?? [1, 8]).join(", ")), "Separated by commas."));
  const made = group("measures", "More to measure",
    box("samples-on", fresh || Boolean(evaluation.samples), "Sample texts", "each model continues three texts, side by side in the report"),
    box("timing", Boolean(evaluation.inference), "Generation time and memory", "dense and pruned in turn"), part);
  shownWith(made.querySelector('[name="timing"]'), part);
  return made;
}

/** The controls of a specification; of a `fresh` one sample texts are asked for. */
export function controls(spec, fresh) {
  const evaluation = spec.evaluation ?? {};
  return [formats(spec), tasks(evaluation), recovery(spec), measures(evaluation, fresh)];
}

function taskList(of, evaluation) {
  const chosen = [...Object.keys(TASKS).filter((name) => of(`task-${name}`).checked), ...names(of("other-tasks").value)];
  const known = Object.fromEntries((evaluation.tasks ?? []).map((task) => [task.name, task]));
  const limit = of("task-limit").value.trim();
  return chosen.map((name) => {
    const { limit: _, ...before } = known[name] ?? {};
    return { ...before, name, ...(limit && { limit: number(limit) }) };
  });
}

function recoveryPart(of, before) {
  if (!of("recover").checked) return null;
  const { samples: _, minutes: __, ...rest } = before ?? {};
  const given = { samples: of("recovery-samples").value, minutes: of("recovery-minutes").value };
  const set = Object.entries(given).filter(([, value]) => value.trim()).map(([name, value]) => [name, number(value)]);
  return { ...rest, method: of("recovery-method").value, source: of("recovery-source").value.trim(), ...Object.fromEntries(set) };
}

/**
 * The parts of a request that the controls make; what they have no field for is kept.
 *
 * @param of the control of a name.
 * @param base the specification that the form began with.
 */
export function parts(of, base) {
  const evaluation = base.evaluation ?? {};
  const kept = (base.formats ?? []).filter((name) => !(name in FORMATS));
  const asked = taskList(of, evaluation);
  const from = of("tasks-source").value.trim();
  const gguf = of("format-gguf").checked;
  return {
    formats: [...kept, ...Object.keys(FORMATS).filter((name) => of(`format-${name}`).checked)],
    gguf_type: (gguf && of("gguf-type").value) || null,
    recovery: recoveryPart(of, base.recovery),
    evaluation: {
      ...evaluation,
      tasks: asked,
      tasks_source: asked.length && from ? from : null,
      inference: of("timing").checked ? { ...evaluation.inference, batch_sizes: names(of("batches").value).map(number) } : null,
      samples: of("samples-on").checked ? evaluation.samples ?? {} : null,
    },
  };
}

/** Fields by where the API says that something is wrong, the more exact first. */
export const PLACES = [
  ["/gguf_type", "gguf-type"], ["/formats", "formats"], ["/recovery/source", "recovery-source"], ["/recovery/samples", "recovery-samples"],
  ["/recovery/minutes", "recovery-minutes"], ["/recovery/method", "recovery-method"], ["/recovery", "recovery"],
  ["/evaluation/tasks_source", "tasks-source"], ["/evaluation/tasks", "tasks"], ["/evaluation/inference", "batches"], ["/evaluation/samples", "measures"],
];
