// Quality against size: one line a method, each with a colour, a dash and a mark of its own; the dense
// model is the reference.

import { width } from "../parts/chart.js";
import { h, svg } from "../parts/element.js";
import { count, measure } from "../parts/words.js";

const HEIGHT = 260;
const LEFT = 52;
const RIGHT = 14;
const TOP = 12;
const BOTTOM = 34;
const LOGARITHMIC_FROM = 12; // times the least value
const STYLES = 6;

/** Round numbers from one value to another, about `most` of them. */
function ticks(low, high, most) {
  const rough = (high - low || Math.abs(high) || 1) / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
  const found = [];
  for (let value = Math.ceil(low / step - 1e-9) * step; value <= high + step * 1e-9; value += step) found.push(Number(value.toPrecision(12)));
  return found;
}

function powers(low, high) {
  const found = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
    for (const factor of [1, 2, 5]) found.push(factor * 10 ** power);
  }
  const within = found.filter((value) => value >= low && value <= high);
  return within.length > 6 ? within.filter((value) => Number.isInteger(Math.log10(value))) : within;
}

function scaleOf(values, from, to, logarithmic) {
  const by = logarithmic ? Math.log : (value) => value;
  let [low, high] = [Math.min(...values), Math.max(...values)];
  const room = logarithmic ? (high / low) ** 0.06 : (high - low || high || 1) * 0.06;
  [low, high] = logarithmic ? [low / room, high * room] : [low - room, high + room];
  const place = (value) => from + (to - from) * ((by(value) - by(low)) / (by(high) - by(low) || 1));
  return { low, high, place };
}

const MARKS = [
  (x, y, more) => svg("circle", { cx: x, cy: y, r: 4, ...more }),
  (x, y, more) => svg("rect", { x: x - 4, y: y - 4, width: 8, height: 8, ...more }),
  (x, y, more) => svg("path", { d: `M${x} ${y - 5}L${x + 5} ${y + 4}H${x - 5}Z`, ...more }),
  (x, y, more) => svg("path", { d: `M${x} ${y + 5}L${x + 5} ${y - 4}H${x - 5}Z`, ...more }),
  (x, y, more) => svg("path", { d: `M${x} ${y - 5}L${x + 5} ${y}L${x} ${y + 5}L${x - 5} ${y}Z`, ...more }),
  (x, y, more) => svg("path", { d: `M${x - 5} ${y - 1}H${x - 1}V${y - 5}H${x + 1}V${y - 1}H${x + 5}V${y + 1}H${x + 1}V${y + 5}H${x - 1}V${y + 1}H${x - 5}Z`, ...more }),
];

const mark = (style, x, y, ...title) => {
  const drawn = MARKS[style](x, y, { class: `mark s${style}` });
  drawn.append(...title);
  return drawn;
};

function legend(series, dense) {
  const sample = (content) => svg("svg", { viewBox: "0 0 30 12", width: 30, height: 12, "aria-hidden": "true" }, content);
  return h("span", { class: "legend lines" },
    series.map((one, i) => h("span", null, sample([svg("path", { class: `line s${i % STYLES}`, d: "M1 6H29" }), mark(i % STYLES, 15, 6)]), one.name)),
    dense && h("span", null, sample(svg("path", { class: "reference", d: "M1 6H29" })), "dense"));
}

/**
 * Draw lines of models.
 *
 * @param series of `name` and `points`: size `x`, quality `y`, and the words of each.
 * @param dense points of the dense models, for whom there is a line across at the same quality.
 * @param axis names of both axes, `x` and `y`; `size`: how a size is written.
 */
export function curve(title, series, dense, axis) {
  const all = [...series.flatMap((one) => one.points), ...dense];
  const wide = width();
  const values = all.map((point) => point.y);
  const logarithmic = Math.min(...values) > 0 && Math.max(...values) / Math.min(...values) > LOGARITHMIC_FROM;
  const x = scaleOf(all.map((point) => point.x), LEFT, wide - RIGHT, false);
  const y = scaleOf(values, HEIGHT - BOTTOM, TOP, logarithmic);
  const words = axis.size ?? count;
  const levels = [...new Set(dense.map((point) => point.y))];
  const drawing = svg("svg", { viewBox: `0 0 ${wide} ${HEIGHT}`, role: "img", "aria-label": `${axis.y} against ${axis.x}, ${all.length} models` },
    (logarithmic ? powers(y.low, y.high) : ticks(y.low, y.high, 5)).map((value) => [
      svg("line", { class: "grid", x1: LEFT, x2: wide - RIGHT, y1: y.place(value), y2: y.place(value) }),
      svg("text", { x: LEFT - 6, y: y.place(value) + 4, "text-anchor": "end" }, measure(value, 3))]),
    ticks(x.low, x.high, wide > 400 ? 6 : 3).map((value) =>
      svg("text", { x: x.place(value), y: HEIGHT - BOTTOM + 16, "text-anchor": "middle" }, words(value))),
    svg("text", { x: (LEFT + wide) / 2, y: HEIGHT - 3, "text-anchor": "middle" }, `${axis.x}${logarithmic ? `; ${axis.y} on a logarithmic scale` : ""}`),
    levels.map((level) => svg("line", { class: "reference", x1: LEFT, x2: wide - RIGHT, y1: y.place(level), y2: y.place(level) })),
    series.map((one, i) => {
      const sorted = [...one.points].sort((a, b) => a.x - b.x);
      const path = sorted.map((point, n) => `${n ? "L" : "M"}${x.place(point.x).toFixed(1)} ${y.place(point.y).toFixed(1)}`).join("");
      return [svg("path", { class: `line s${i % STYLES}`, d: path }),
        sorted.map((point) => mark(i % STYLES, x.place(point.x), y.place(point.y), svg("title", null, point.words)))];
    }),
    dense.map((point) => svg("circle", { class: "dense", cx: x.place(point.x), cy: y.place(point.y), r: 4 }, svg("title", null, point.words))));
  return h("figure", { class: "curve" }, h("figcaption", null, title, legend(series, levels.length > 0)), drawing);
}
