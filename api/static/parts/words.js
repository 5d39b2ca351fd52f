// Numbers, sizes and times as people read them.

const UNITS = [[1e12, "T"], [1e9, "B"], [1e6, "M"], [1e3, "K"]];
const BYTES = [[2 ** 40, "TiB"], [2 ** 30, "GiB"], [2 ** 20, "MiB"], [2 ** 10, "KiB"]];
const RELATIVE = new Intl.RelativeTimeFormat("en", { numeric: "auto", style: "narrow" });

function scaled(value, units, last) {
  for (const [size, unit] of units) {
    // Rounded up, the next unit says it better: 1 MiB, not 1024 KiB.
    if (value >= size * 0.9995) {
      const number = value / size;
      return `${number >= 100 ? number.toFixed(0) : Number(number.toPrecision(3))}${unit}`;
    }
  }
  return `${value}${last}`;
}

/** 6738415616 → "6.74B". */
export const count = (value) => scaled(value, UNITS, "");

/** 1536 → "1.5 KiB". */
export const bytes = (value) => scaled(value, BYTES.map(([n, u]) => [n, ` ${u}`]), " bytes");

/** 0.251 → "25.1%". */
export const percent = (share) => `${(share * 100).toFixed(1)}%`;

/** A measure such as perplexity, in four digits. */
export function measure(value, digits = 4) {
  if (typeof value !== "number" || !Number.isFinite(value)) return "–";
  if (value >= 1e5 || (value !== 0 && Math.abs(value) < 1e-3)) return value.toExponential(Math.min(digits, 3) - 1);
  return String(Number(value.toPrecision(digits)));
}

/** Seconds as "2 h 5 min". */
export function duration(seconds) {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return "–";
  if (seconds < 1) return "under 1 s";
  if (seconds < 60) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (seconds < 600) return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h ${minutes % 60} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** A time as "5 min ago". */
export function ago(text) {
  const seconds = (new Date(text) - Date.now()) / 1000;
  for (const [size, unit] of [[86400, "day"], [3600, "hour"], [60, "minute"]]) {
    if (Math.abs(seconds) >= size) return RELATIVE.format(Math.round(seconds / size), unit);
  }
  return "just now";
}

/** Seconds between two times; to now without the second. */
export const between = (from, to) => (new Date(to ?? Date.now()) - new Date(from)) / 1000;

/** A time of the day, in the visitor's own zone. */
export const clock = (when) =>
  new Date(when).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });

/** Date and time, in the visitor's own zone. */
export const moment = (text) => new Date(text).toLocaleString([], { dateStyle: "medium", timeStyle: "medium" });

/** The model of a job; another version of the service may have named it otherwise. */
export const modelOf = (spec) => (typeof spec.model === "string" ? spec.model : "a model");

/** What a job is called. */
export const nameOf = (job) => (typeof job.name === "string" ? job.name : modelOf(job.spec));

/** What a job was asked to reach. */
export function target(spec) {
  if (spec.parameters) return `${count(spec.parameters)} parameters`;
  if (spec.memory) return `${bytes(spec.memory)} of weights`;
  if (spec.ratios) return `${spec.ratios.map((ratio) => Number((ratio * 100).toFixed(2))).join(", ")}% smaller`;
  if (typeof spec.ratio === "number") return `${Number((spec.ratio * 100).toFixed(2))}% smaller`;
  return "–";
}
