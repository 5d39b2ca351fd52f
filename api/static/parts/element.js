// Elements of the page. Text becomes text nodes and attributes are set one by one: what strangers
// wrote (names, labels, errors) is never read as HTML.

import morphdom from "../vendor/morphdom.js";

const SVG = "http://www.w3.org/2000/svg";
const listened = new Set();

const there = (child) => child !== null && child !== undefined && child !== false;

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (!there(value)) continue;
    if (name.startsWith("on")) {
      node[name] = value;
      listened.add(name);
    } else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.flat(3).filter(there));
  return node;
}

/**
 * An HTML element: `h("p", {class: "quiet"}, "text", child, …)`; `onclick: f` listens.
 *
 * A listener finds its element in `event.currentTarget`: `show` may hand it to one that is there already.
 */
export function h(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** A message with what stands in backticks as code. */
export const coded = (text) => String(text ?? "").split(/`([^`]+)`/).map((part, i) => (i % 2 ? h("code", null, part) : part));

/** An SVG element. */
export function svg(tag, attributes, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

/** What says that two elements are the same one, among those of one call of `show`. */
const keyOf = (node) => node.dataset?.key ?? node.id;

function adopt(old, fresh) {
  for (const name of listened) if (old[name] !== fresh[name]) old[name] = fresh[name];
  if (old.localName === "details") fresh.open = old.open; // the visitor's own doing
  return true;
}

/**
 * Change what is in an element into new content, and nothing that is the same already: folds, focus,
 * selection and scrolled places stay. Elements with the same `data-key` or `id` are the same, others
 * if they stand at the same place.
 */
export function show(node, ...children) {
  const fresh = node.cloneNode(false);
  fresh.append(...children.flat(3).filter((child) => child));
  const active = node.contains(document.activeElement) ? document.activeElement : null;
  morphdom(node, fresh, { childrenOnly: true, getNodeKey: keyOf, onBeforeElUpdated: adopt });
  if (!active || active === document.activeElement) return;
  (active.isConnected ? active : document.getElementById("main")).focus({ preventScroll: true });
}

/** A number with its name and what it means. */
export const tile = (name, value, more) => h("div", { class: "tile" }, h("span", null, name), h("strong", null, value), h("span", { class: "quiet" }, more));
