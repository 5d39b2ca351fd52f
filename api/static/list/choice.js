// Which jobs are chosen to be compared. The choice outlives pages and filters of the list, in this tab.

import { h } from "../parts/element.js";

const MOST = 12;
const chosen = new Set();

/** The tick box of a job. */
export const tickBox = (id, name) =>
  h("input", { type: "checkbox", "aria-label": `Choose ${name}`, "data-choose": id, checked: chosen.has(id), disabled: !chosen.has(id) && chosen.size >= MOST });

/** Choose a job, or choose it no more. */
export function choose(id, yes) {
  if (yes) chosen.add(id);
  else chosen.delete(id);
}

/** Choose none. */
export const clear = () => chosen.clear();

/** Say how many are chosen, and lead to their comparison. */
export function chosenBar() {
  if (!chosen.size) return null;
  const words = chosen.size === 1 ? "1 job is chosen." : `${chosen.size} jobs are chosen${chosen.size >= MOST ? ", the most that fit" : ""}.`;
  return [
    h("p", { role: "status" }, words),
    h("div", { class: "actions" },
      h("a", { class: "button primary", href: `#/compare?jobs=${[...chosen].join(",")}` }, chosen.size === 1 ? "Show its curve" : "Compare"),
      h("button", { type: "button", "data-do": "clear" }, "Choose none")),
  ];
}
