// What there is to choose from: the service's models and texts, and the visitor's uploads.

import { coded, h, show } from "../parts/element.js";
import { read } from "../parts/service.js";
import { bytes, count } from "../parts/words.js";

const MOST = 400; // of each list; more are typed
const PAGE = 200;
const BUSY = [429, 503];
const TRIES = 5;

/** The items of a list's pages, as far as `MOST`; a service that is busy is asked again. */
async function all(address) {
  const items = [];
  let cursor = null;
  for (let tries = 0; ;) {
    const query = new URLSearchParams({ limit: PAGE, ...(cursor && { cursor }) });
    try {
      const page = await read(`${address}?${query}`);
      items.push(...page.items);
      cursor = page.next_cursor;
    } catch (error) {
      if (!BUSY.includes(error.status) || ++tries > TRIES) throw error;
      await new Promise((later) => { setTimeout(later, 2000); });
      continue;
    }
    if (!cursor || items.length >= MOST) break;
  }
  return items;
}

/** `models`, `texts` and `uploads`, each a promise of a list. */
export const choices = () => ({ models: all("models"), texts: all("texts"), uploads: all("calibration-sets") });

/** A model in words: family, parameters, weights; or why it cannot be pruned. */
export function described(model) {
  if (!model.prunable) return `cannot be pruned: ${model.reason}`;
  const parts = [model.family, `${count(model.parameters)} parameters`, `${bytes(model.bytes)}${model.dtype ? ` in ${model.dtype}` : ""}`];
  if (model.layers) parts.push(`${model.layers} layers`);
  if (model.positions) parts.push(`${model.positions} positions`);
  if (model.pruned) parts.push("pruned before");
  return parts.join(", ");
}

const short = (model) => `${model.model.replace(/^local:/, "")} – ${model.prunable ? `${model.family}, ${count(model.parameters)}` : "cannot be pruned"}`;

function option(value, words, chosen, disabled) {
  return h("option", { value, selected: value === chosen, disabled }, words);
}

/** A select that fills a text field, where there is something to choose. */
function picker(label, field, groups, pick) {
  const options = groups.filter(([, items]) => items.length).map(([name, items]) => {
    const made = items.map(([value, words, disabled]) => option(value, words, field.value, disabled));
    return groups.length > 1 ? h("optgroup", { label: name }, made) : made;
  });
  if (!options.length) return null;
  return h("select", { class: "picker", "aria-label": label, onchange: (event) => { if (event.target.value) pick(event.target.value); } },
    option("", `${label}…`, null), options);
}

/** Put a picker of models, the usable ones first, before a field, and what is known of the chosen one after it. */
export async function pickModel(field, note, promised, changed) {
  const found = await promised;
  const models = [...found.filter((model) => model.prunable), ...found.filter((model) => !model.prunable)];
  const tell = () => {
    const chosen = models.find((model) => model.model === field.value.trim());
    show(note, chosen && coded(described(chosen)));
    note.classList.toggle("fault", Boolean(chosen && !chosen.prunable));
  };
  const made = picker("Models of this service", field, [["", models.map((model) => [model.model, short(model), !model.prunable])]],
    (value) => { field.value = value; tell(); changed(); });
  if (made) field.before(made);
  field.addEventListener("input", () => { if (made) made.value = models.some((model) => model.model === field.value.trim()) ? field.value.trim() : ""; tell(); });
  tell();
  return models;
}

/** Put a picker of texts before a field. */
export function pickText(field, texts, uploads, changed) {
  const made = picker("Texts of this service", field, [
    ["Below the texts folder", texts.map((text) => [text.source, `${text.source.replace(/^local:/, "")} – ${bytes(text.bytes)}`])],
    ["Uploaded", uploads.map((set) => [set.source, `${set.name || set.id} – ${bytes(set.size)}, ${count(set.documents)} documents`])],
  ], (value) => { field.value = value; changed(); });
  if (made) field.before(made);
  field.addEventListener("input", () => { if (made) made.value = [...made.options].some((one) => one.value === field.value.trim()) ? field.value.trim() : ""; });
}
