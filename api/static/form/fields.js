// Fields of the forms: a control with its label, help and fault, and what a visitor typed as a value.

import { h } from "../parts/element.js";

/** A labelled control; its fault is shown in the element `e-NAME`. */
export function field(name, label, control, help) {
  control.id = `f-${name}`;
  control.name = name;
  control.setAttribute("aria-describedby", `h-${name} e-${name}`);
  return h("div", { class: `field ${name}` }, h("label", { for: `f-${name}` }, label), control,
    h("p", { id: `h-${name}`, class: "quiet" }, help), h("p", { id: `e-${name}`, class: "fault" }));
}

export const text = (value, more) => h("input", { type: "text", value, autocomplete: "off", spellcheck: "false", ...more });

/** A choice of [value, words] pairs. */
export const select = (options, chosen) => h("select", null, options.map(([value, words]) => h("option", { value, selected: value === chosen }, words)));

/** Names that commas separate. */
export const names = (value) => value.split(",").map((name) => name.trim()).filter(Boolean);

/** A number, or the text that is none: the API says what is wrong with it. */
export const number = (value) => (value.trim() !== "" && Number.isFinite(Number(value)) ? Number(value) : value);
