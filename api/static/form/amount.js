// How far to prune: what a visitor typed as part of a request, and what to ask or to say about it.

/** One share in percent as a ratio, or the text that is none: the API says what is wrong with it. */
function share(text) {
  const value = Number(text.replace("%", "").replace(",", ".")) / 100;
  return text.trim() === "" || Number.isNaN(value) ? text : Number(value.toPrecision(12));
}

// A comma within a number is a decimal one; before a space, or a second one, it separates.
const isSeveral = (text) => /[,;]\s|;|,.*,/.test(text);
const partsOf = (text) => (isSeveral(text) ? text.split(/[,;]/).map((part) => part.trim()).filter(Boolean) : [text.trim()]);

/** The part of a request that says how small the model shall be. */
export function amount(kind, text) {
  if (kind !== "ratio") return { [kind]: /^\d+$/.test(text) ? Number(text) : text };
  const shares = partsOf(text).map(share);
  return isSeveral(text) ? { ratios: shares } : { ratio: shares[0] };
}

const inPercent = (ratio) => String(Number((ratio * 100).toPrecision(6)));

/** The ratios of a specification in percent. */
export const percents = (spec) => (spec.ratios ?? [spec.ratio ?? 0.25]).map(inPercent).join(", ");

/** What to ask of a number below one, which is a ratio to most; one with a % sign means it. */
export function doubt(kind, text) {
  if (kind !== "ratio") return "";
  const small = partsOf(text).filter((part) => !part.includes("%") && share(part) > 0 && share(part) < 0.01);
  return small.map((part) => `${inPercent(share(part))}% or ${inPercent(share(part) * 100)}%? As it stands, ${inPercent(share(part))}% is removed.`).join(" ");
}

/** A refusal of an amount with the field's percent: the engine speaks of ratios. */
export function withPercent(kind, message) {
  if (kind !== "ratio") return message;
  const nearest = /the nearest plan removes (0\.\d+) of the parameters/.exec(message);
  if (nearest) return `${message}. In percent, as this form has it: ${inPercent(Number(nearest[1]))}.`;
  const bound = /Input should be (?:less|greater) than (?:or equal to )?([\d.]+)(: a ratio is .*)?$/.exec(message);
  if (!bound) return message;
  return `${message.slice(0, message.length - (bound[2] ?? "").length)}, which is ${inPercent(Number(bound[1]))}%`;
}
