// A list that grows by pages: "More" asks for the next one.

import { h, show } from "../parts/element.js";
import { complain } from "../parts/notice.js";
import { read } from "../parts/service.js";

/**
 * A list of an address that answers `items` and `next_cursor`.
 *
 * @param address of the list, without a query.
 * @param draw makes an element of an item.
 * @param empty what is shown without items.
 * @returns `element`, and `load()`, which begins anew.
 */
export function pagesOf(address, draw, empty) {
  const items = h("ul", { class: "items" });
  const more = h("div", { class: "actions" });
  const none = h("div", { class: "empty" });
  let asked = 0;

  async function fetchPage(cursor, mine) {
    const query = new URLSearchParams({ limit: 50, ...(cursor && { cursor }) });
    const page = await read(`${address}?${query}`);
    if (mine !== asked) return;
    if (!cursor) items.replaceChildren();
    items.append(...page.items.map((item) => h("li", null, draw(item))));
    show(none, !items.children.length && empty);
    more.replaceChildren();
    if (page.next_cursor) more.append(h("button", { type: "button", onclick: () => fetchPage(page.next_cursor, mine).catch(complain) }, "More"));
  }

  return { element: h("div", { class: "part" }, items, none, more), load: () => fetchPage(null, ++asked) };
}
