// What is left of each layer and what it cost, as small drawings with a table of the same numbers.

import { h, svg } from "./element.js";
import { scroll } from "./table.js";
import { count, measure, percent } from "./words.js";

/** Units of a drawing across: about pixels, so that its text is as large as the page's. */
export const width = () => (matchMedia("(max-width: 760px)").matches ? 340 : 640);
const HEIGHT = 150;
const LEFT = 52;
const NUMBER = 26; // units of a layer's number, with some room
const BOTTOM = 20;
const TOP = 8;

const y = (share) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - share);

function frame(label, layers, ticks, marks) {
  const wide = width();
  const slot = (wide - LEFT) / layers;
  const every = Math.ceil(Math.max(1, NUMBER / slot, layers / 12));
  return svg("svg", { viewBox: `0 0 ${wide} ${HEIGHT}`, role: "img", "aria-label": label },
    ticks.map(([share, text]) => [
      svg("line", { class: "grid", x1: LEFT, x2: wide, y1: y(share), y2: y(share) }),
      svg("text", { x: LEFT - 6, y: y(share) + 4, "text-anchor": "end" }, text)]),
    Array.from({ length: layers }, (_, i) => i).filter((i) => i % every === 0).map((i) =>
      svg("text", { x: LEFT + slot * (i + 0.5), y: HEIGHT - 5, "text-anchor": "middle" }, i)),
    marks(slot));
}

const SERIES = {
  heads: { name: "attention heads", class: "a" },
  channels: { name: "FFN channels", class: "b" },
  attention_error: { name: "attention", class: "a" },
  ffn_error: { name: "FFN", class: "b" },
};

function pair(row, slot, names, share, words) {
  const wide = Math.min(slot * 0.38, 22);
  const middle = LEFT + slot * (row.layer + 0.5);
  return names.map((name, i) => {
    const part = Math.min(1, Math.max(0, share(row, name)));
    return svg("rect", {
      class: SERIES[name].class, x: middle + (i - 1) * wide, width: Math.max(wide - 1, 0.5),
      y: y(part), height: Math.max(y(0) - y(part), 0),
    }, svg("title", null, words(row, name)));
  });
}

function legend(names) {
  return h("span", { class: "legend" }, names.map((name) =>
    h("span", { class: SERIES[name].class }, SERIES[name].name)));
}

function figure(title, names, drawing) {
  return h("figure", null, h("figcaption", null, title, legend(names)), drawing);
}

function kept(rows, total) {
  const names = ["heads", "channels"];
  const share = (row, name) => row[name] / row[`${name}_before`];
  const words = (row, name) =>
    `layer ${row.layer}: ${row[name]} of ${row[`${name}_before`]} ${SERIES[name].name} kept`;
  const label = `Share of heads and channels kept in each of ${rows.length} layers`;
  const ticks = [[0, "0%"], [0.5, "50%"], [1, "100%"]];
  return figure("Kept in each layer", names, frame(label, total, ticks, (slot) =>
    rows.map((row) => pair(row, slot, names, share, words))));
}

const ERRORS = ["attention_error", "ffn_error"];

/** The greatest error of layers: where an axis ends that several charts share. */
export const mostError = (rows) => Math.max(...rows.flatMap((row) => ERRORS.map((name) => row[name] || 0)), 1e-9);

/** The errors of layers; charts of one page are given the same greatest one. */
export function errors(rows, total, most = mostError(rows)) {
  const names = ERRORS;
  const share = (row, name) => (row[name] || 0) / most;
  const words = (row, name) => `layer ${row.layer}: ${SERIES[name].name} error ${measure(row[name])}`;
  const label = `Relative error of each layer's output, at most ${measure(mostError(rows))}`;
  const ticks = [[0, "0"], [0.5, measure(most / 2, 2)], [1, measure(most, 2)]];
  return figure("Relative error of each layer", names, frame(label, total, ticks, (slot) =>
    rows.map((row) => pair(row, slot, names, share, words))));
}

function table(rows, measured) {
  const head = ["Layer", "Heads", "KV heads", "Channels", "Parameters", "Kept",
    ...(measured ? ["Attention error", "FFN error", "Seconds"] : [])];
  const of = (row, name) => `${row[name]} / ${row[`${name}_before`]}`;
  return h("details", { "data-key": `numbers ${rows[0].point ?? 0}` }, h("summary", null, "The numbers"), scroll("Numbers of each layer",
    h("table", { class: "numbers", "aria-label": "Numbers of each layer" },
      h("thead", null, h("tr", null, head.map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", null, rows.map((row) => h("tr", null, [
        row.layer, of(row, "heads"), of(row, "kv_heads"), of(row, "channels"),
        count(row.parameters), percent(row.parameters / row.parameters_before),
        ...(measured ? [measure(row.attention_error), measure(row.ffn_error), measure(row.seconds)] : []),
      ].map((value) => h("td", null, String(value)))))))));
}

/** Charts of layers that are pruned, or, without errors, that are planned; `worst` ends the errors' axis. */
export function layers(rows, total, worst) {
  if (!rows.length) return [];
  const measured = rows.some((row) => row.attention_error !== undefined);
  const most = Math.max(total ?? 0, rows.at(-1).layer + 1);
  return [kept(rows, most), measured && errors(rows, most, worst), table(rows, measured)];
}
