// A new job: what to prune and how far, the plan of it, and posting it.

import { amount, doubt, percents, withPercent } from "../form/amount.js";
import { controls, parts, PLACES as MORE_PLACES } from "../form/controls.js";
import { field, names, number, select, text } from "../form/fields.js";
import { livePlan } from "../form/plan_preview.js";
import { choices, pickModel, pickText } from "../form/pickers.js";
import { sizesPart, sizesSelect, withoutSizes } from "../form/sizes.js";
import { coded, h, show } from "../parts/element.js";
import { say } from "../parts/notice.js";
import { path, post, read } from "../parts/service.js";
import { TEXT_FILES, upload as send } from "../parts/upload.js";

const METHODS = ["slimgpt", "wanda-sp", "flap", "magnitude"];
const NAMED = ["c4", "alpaca", "gpt4-alpaca", "wikitext2"];
const UPLOAD = "upload";
const OTHER = "other";
// Fields of the form, by where the API says that something is wrong.
const PLACES = [
  ["/name", "name"], ["/model", "model"], ["/ratio", "amount"], ["/ratios", "amount"], ["/parameters", "amount"], ["/memory", "amount"],
  ["/method", "method"], ["/recipe", "sizes"], ["/schedule", "sizes"], ["/calibration/source", "source"],
  ["/calibration/samples", "samples"], ["/calibration/sequence_length", "tokens"], ["/calibration/seed", "seed"],
  ...MORE_PLACES, ["/evaluation", "texts"], ["/metadata", "labels"],
];

const AMOUNTS = {
  ratio: { label: "Percent to remove", value: "25", help: "Share of all the model's parameters. Several, separated by commas, make a model each: 20, 33, 50.", mode: "decimal" },
  parameters: { label: "Parameters to leave", value: "", help: "A number, or with K, M, B: 5.4B." },
  memory: { label: "Weights to leave", value: "", help: "In the model's own precision: 10GiB." },
};

function labelsOf(text) {
  const pairs = text.split("\n").map((line) => line.trim()).filter(Boolean);
  return Object.fromEntries(pairs.map((pair) => {
    const cut = pair.indexOf("=");
    return cut < 0 ? [pair, ""] : [pair.slice(0, cut).trim(), pair.slice(cut + 1).trim()];
  }));
}

function targetFields(spec) {
  const kind = ["parameters", "memory"].find((name) => spec[name]) ?? "ratio";
  const value = kind === "ratio" ? percents(spec) : String(spec[kind]);
  const input = text(value, { required: true });
  const whole = field("amount", AMOUNTS[kind].label, input, AMOUNTS[kind].help);
  const words = { ratio: "Share to remove", parameters: "Parameters to leave", memory: "Memory to leave" };
  const ask = h("p", { class: "note doubt", role: "status" });
  whole.append(ask);
  const doubted = () => { ask.textContent = doubt(input.form?.elements.namedItem("target").value ?? kind, input.value); };
  input.addEventListener("input", doubted);
  const choose = (name) => {
    whole.querySelector("label").textContent = AMOUNTS[name].label;
    whole.querySelector("p").textContent = AMOUNTS[name].help;
    input.value = name === kind ? value : AMOUNTS[name].value;
    doubted();
  };
  return h("fieldset", null, h("legend", null, "Target"),
    h("div", { class: "choices" }, Object.entries(words).map(([name, label]) => h("label", null,
      h("input", { type: "radio", name: "target", value: name, checked: name === kind, onchange: () => choose(name) }), label))),
    whole);
}

function calibrationFields(spec) {
  const source = spec.calibration?.source ?? "c4";
  const chosen = NAMED.includes(source) ? source : OTHER;
  const kind = select([...NAMED.map((name) => [name, name]), [OTHER, "a text of the service or the hub"], [UPLOAD, "a file of mine"]], chosen);
  const name = field("source", "Text", text(chosen === OTHER ? source : "", { placeholder: "local:notes.jsonl or hf:org/name" }), "local:FILE below the service's folder of texts, hf:NAME, or upload:ID.");
  const file = field("file", "File", h("input", { type: "file", accept: TEXT_FILES }), "Plain text, JSON lines, CSV or TSV. It is stored by the service when the job is posted.");
  const swap = () => { name.hidden = kind.value !== OTHER; file.hidden = kind.value !== UPLOAD; };
  kind.addEventListener("change", swap);
  swap();
  const numeric = (value) => text(String(value), { inputmode: "numeric", required: true });
  return h("fieldset", null, h("legend", null, "Calibration"),
    field("kind", "Source", kind, "Text like what the model will read, to measure what it can spare."), name, file,
    h("div", { class: "row" },
      field("samples", "Sequences", numeric(spec.calibration?.samples ?? 256), ""),
      field("tokens", "Tokens in each", numeric(spec.calibration?.sequence_length ?? 2048), ""),
      field("seed", "Seed", numeric(spec.calibration?.seed ?? 0), "")));
}

function fields(spec, metadata, fresh, sizes) {
  return [
    field("name", "Name", text("", { maxlength: 128, placeholder: "by model and target" }), ""),
    field("model", "Model", text(spec.model ?? "", { required: true, placeholder: "org/name or local:NAME" }),
      "A model of the hub, org/name or org/name@revision, or local:NAME, a folder below the service's models."),
    h("p", { id: "model-note", class: "quiet", role: "status" }),
    targetFields(spec),
    calibrationFields(spec),
    h("details", { class: "more" }, h("summary", null, "More: method, schedule, evaluation, formats, recovery, labels"),
      h("div", { class: "row method-row" },
        field("method", "Method", select(METHODS.map((name) => [name, name]), spec.method ?? "slimgpt"), ""),
        field("sizes", "Recipe or schedule", sizes,
          "What sets each layer's size. measured: what each cut costs, by a survey as the job starts; global: FLAP's.")),
      field("texts", "Evaluate on", text((spec.evaluation?.texts ?? ["held-out"]).join(", ")), "wikitext2, c4, hf:NAME, local:FILE, or held-out: what calibration did not use. Separated by commas."),
      controls(spec, fresh),
      field("labels", "Labels", h("textarea", { rows: 3, spellcheck: "false" }, Object.entries(metadata).map((pair) => pair.join("=")).join("\n")), "KEY=VALUE, one a line.")),
  ];
}

/** A key that names one intention to post: pressed twice, the button makes one job. */
const intention = () => [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");

/** Show the form in an element; returns a function that ends it. `like`: id of a job to start from. */
export async function form(root, like) {
  const before = like ? await read(`jobs/${path(like)}`).catch(() => null) : null;
  const base = before?.spec ?? {};
  const planned = h("div");
  const error = h("p", { class: "fault", role: "alert" });
  const uploaded = new WeakMap();
  let sent = { body: null, key: null };
  const sizes = sizesSelect(base);
  const made = h("form", { class: "card job-form", novalidate: true, onsubmit: start },
    h("h1", null, "New job"), fields(base, before?.metadata ?? {}, !before, sizes.control), error,
    h("div", { class: "actions" },
      h("button", { type: "button", onclick: () => plan().then(seePlan) }, "Plan"),
      h("button", { class: "primary" }, "Start job"),
      h("a", { class: "button plain", href: "#/" }, "Back")));
  root.append(h("div", { class: "columns new" }, made, planned));

  const of = (name) => made.elements.namedItem(name);

  /** The request. Without `upload` a file of the visitor's stands for itself: a plan does not read it. */
  async function body(upload) {
    const { ratio, ratios, parameters, memory, ...rest } = withoutSizes(base); // what the form has no field for is kept
    const more = parts(of, base);
    return {
      ...rest,
      model: of("model").value.trim(),
      ...amount(of("target").value, of("amount").value.trim()),
      method: of("method").value,
      ...sizesPart(base, { sizes: of("sizes").value, method: of("method").value, uniform: of("format-uniform").checked }),
      calibration: {
        ...base.calibration, source: await source(upload), samples: number(of("samples").value),
        sequence_length: number(of("tokens").value), seed: number(of("seed").value),
      },
      ...more,
      evaluation: { ...more.evaluation, texts: names(of("texts").value) },
      metadata: labelsOf(of("labels").value),
      ...(of("name").value.trim() && { name: of("name").value.trim() }),
    };
  }

  async function source(upload) {
    const kind = of("kind").value;
    if (kind === OTHER) return of("source").value.trim();
    if (kind !== UPLOAD) return kind;
    const file = of("file").files[0];
    if (!upload) return "c4";
    if (!file) throw Object.assign(new Error("choose a file"), { field: "file" });
    if (!uploaded.has(file)) {
      uploaded.set(file, (await (await send(file)).json()).id);
    }
    return `upload:${uploaded.get(file)}`;
  }

  function clear() {
    error.textContent = "";
    for (const node of made.querySelectorAll('[id^="e-"]')) node.textContent = "";
    for (const node of made.querySelectorAll("[aria-invalid]")) node.removeAttribute("aria-invalid");
  }

  function fault(name, message) {
    const control = of(name);
    const node = made.querySelector(`#e-${name}`);
    if (!control || !node) return false;
    node.textContent = node.textContent ? `${node.textContent}; ${message}` : message;
    control.setAttribute("aria-invalid", "true");
    const folded = control.closest("details");
    if (folded) folded.open = true;
    return true;
  }

  /** What was refused is no longer what stands there. */
  function corrected({ target }) {
    const node = made.querySelector(`#e-${target.name}`);
    if (!target.hasAttribute("aria-invalid") || !node) return;
    target.removeAttribute("aria-invalid");
    node.textContent = "";
  }

  function refuse(thrown) {
    if (thrown.status === 401) return;
    if (thrown.field) return void fault(thrown.field, thrown.message);
    const unplaced = (thrown.problem?.errors ?? []).filter(({ pointer, message }) => {
      const [, name] = PLACES.find(([place]) => pointer === place || pointer.startsWith(`${place}/`)) ?? [];
      return !(name && fault(name, name === "amount" ? inFields(message) : message));
    });
    if (!thrown.problem?.errors?.length) show(error, coded(inFields(thrown.message)));
    else if (unplaced.length) error.textContent = unplaced.map((found) => found.message).join("; ");
    made.querySelector("[aria-invalid]")?.focus();
  }

  async function busy(doing) {
    clear();
    const buttons = [...made.querySelectorAll(".actions button")];
    for (const button of buttons) button.disabled = true;
    try {
      await doing();
    } catch (thrown) {
      refuse(thrown);
    }
    for (const button of buttons) button.disabled = false;
  }

  function plan() {
    return busy(() => live.now());
  }

  // A default that works without a network, where there is a text of the service's own.
  async function offerTexts() {
    const [texts, uploads] = await Promise.all([offered.texts, offered.uploads]);
    pickText(of("source"), texts, uploads, live.soon);
    if (base.calibration || touched || !texts.length) return;
    of("kind").value = OTHER;
    of("source").value = texts[0].source;
    of("source").dispatchEvent(new Event("input"));
    of("kind").dispatchEvent(new Event("change", { bubbles: true }));
  }

  // Of the model's own, where its sequences are shorter than those of the form.
  async function offerModels() {
    const models = await pickModel(of("model"), made.querySelector("#model-note"), offered.models, changed);
    const fit = () => {
      const found = models.find((model) => model.model === of("model").value.trim());
      if (!touched && found?.positions && Number(of("tokens").value) > found.positions) of("tokens").value = String(found.positions);
    };
    of("model").addEventListener("input", fit);
    fitted = fit;
    const usable = models.filter((model) => model.prunable);
    if (usable.length === 1 && !of("model").value) fillIn(usable[0].model);
  }

  /** Put in the only model there is to choose; who types another one replaces it. */
  function fillIn(model) {
    of("model").value = model;
    of("model").dispatchEvent(new Event("input", { bubbles: true }));
    if (document.activeElement === of("model")) of("model").select();
  }

  const tellSizes = () => sizes.tell(of("method").value, of("format-uniform").checked);

  function changed() {
    fitted();
    live.soon();
  }

  /** On a narrow screen the plan stands below the form. */
  function seePlan() {
    if (!made.querySelector("[aria-invalid]")) planned.scrollIntoView({ block: "nearest" });
  }

  function start(event) {
    event.preventDefault();
    return busy(async () => {
      const wanted = await body(true);
      const text = JSON.stringify(wanted);
      if (sent.body !== text) sent = { body: text, key: intention() };
      const job = await post("jobs", wanted, { "Idempotency-Key": sent.key });
      say("The job is queued.");
      location.hash = `#/jobs/${path(job.id)}`;
    });
  }

  const offered = choices();
  const inFields = (message) => withPercent(of("target").value, message);
  const live = livePlan(planned, inFields, async () => (of("model").value.trim() && of("amount").value.trim() ? body(false) : null));
  let touched = Boolean(before);
  let fitted = () => {};
  tellSizes();
  for (const name of ["method", "format-uniform"]) of(name).addEventListener("change", tellSizes);
  for (const kind of ["input", "change"]) {
    made.addEventListener(kind, corrected);
    made.addEventListener(kind, live.soon);
  }
  for (const name of ["kind", "source", "tokens"]) of(name).addEventListener("input", (event) => { touched ||= event.isTrusted; });
  offerModels().catch(() => {});
  offerTexts().catch(() => {});
  if (before) live.soon();
  of("model").focus();
  return live.end;
}
