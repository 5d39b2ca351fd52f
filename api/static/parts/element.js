// Elements of the page. Text becomes text nodes and attributes are set one by one: what strangers
// wrote (names, labels, errors) is never read as HTML.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** An HTML element: `h("p", {class: "quiet"}, "text", child, …)`; `onclick: f` listens. */
export function h(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** An SVG element. */
export function svg(tag, attributes, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

/** Put new content into an element, if it differs from what is there. */
export function show(node, ...children) {
  const fresh = document.createElement("template").content;
  fresh.append(...children.flat(3).filter((child) => child));
  const before = [...node.childNodes];
  const same =
    before.length === fresh.childNodes.length &&
    before.every((child, i) => child.isEqualNode(fresh.childNodes[i]));
  if (!same) node.replaceChildren(fresh);
}
