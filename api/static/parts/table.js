// Tables that stay readable on a narrow screen, and places that scroll.

import { h } from "./element.js";

/** A place that scrolls sideways; the keyboard reaches it, too. */
export const scroll = (label, content) =>
  h("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": label }, content);

/**
 * A table. On a narrow screen each row stands as a block, the columns' names beside its values.
 *
 * @param head the columns' names; one that starts with `-` is for screen readers.
 * @param rows for each, an array of contents; `key` of the array tells the rows apart.
 */
export function table(label, kind, head, rows) {
  const names = head.map((name) => name.replace(/^-/, ""));
  return h("table", { class: `stack ${kind}`, role: "table", "aria-label": label },
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, head.map((name, i) =>
      h("th", { role: "columnheader", scope: "col" }, name.startsWith("-") ? h("span", { class: "unseen" }, names[i]) : name)))),
    h("tbody", { role: "rowgroup" }, rows.map((cells) => h("tr", { role: "row", "data-key": cells.key }, cells.map((content, i) =>
      h("td", { role: "cell", "data-label": head[i].startsWith("-") ? "" : names[i] }, h("div", null, content)))))));
}
