// Fields above the list: what to show, and on a narrow screen the order, which has no head there.

import { h } from "../parts/element.js";

const STATUSES = ["running", "queued", "succeeded", "failed", "cancelled", "cancelling"];
const TYPED = 300; // milliseconds without another key

const options = (pairs, chosen) => pairs.map(([value, words]) => h("option", { value, selected: value === chosen }, words));

/**
 * @param columns [name, sort key] of each column.
 * @param change called with what is to be changed of the state, and whether it is typed.
 */
export function filters(state, columns, admin, change) {
  let timer;
  const field = (label, control, kind) => h("label", { class: kind }, h("span", null, label), control);
  const text = (name, placeholder) => h("input", {
    name, placeholder, type: "search", autocomplete: "off", spellcheck: "false", value: state[name],
    oninput: (event) => {
      const value = event.currentTarget.value.trim();
      clearTimeout(timer);
      timer = setTimeout(() => change({ [name]: value }, true), TYPED);
    },
  });
  const select = (name, pairs) => h("select", { name, onchange: (event) => change({ [name]: event.currentTarget.value }) }, options(pairs, state[name]));
  const orders = columns.flatMap(([name, key]) => [[key, `${name}, ascending`], [`-${key}`, `${name}, descending`]]);
  return h("form", { class: "filters", role: "search", "aria-label": "Filter jobs", onsubmit: (event) => event.preventDefault() },
    field("Search", text("search", "part of a name, label or id"), "wide"),
    field("Status", select("status", [["", "every status"], ...STATUSES.map((word) => [word, word])])),
    admin && field("Owner", text("owner", "any")),
    field("Sort by", select("sort", orders), "order"));
}

/** Put a state into the fields; what is being typed stays. */
export function fillIn(form, state) {
  for (const name of ["search", "status", "owner", "sort"]) {
    const control = form.elements.namedItem(name);
    if (control && control !== document.activeElement) control.value = state[name];
  }
}
