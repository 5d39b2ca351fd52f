// What sets each layer's size: a recipe or a schedule, and which of them holds where none is asked for.

import { h } from "../parts/element.js";

export const PAPER = "paper";
const MEASURED = "measured";
const SHAPES = {
  log: "log", linear: "linear", uniform: "equal ratios (uniform)",
  "log-decrease": "log-decrease", "linear-decrease": "linear-decrease", global: "global",
};
const DEFAULTS = { measured: "measured (default)", uniform: "equal ratios (uniform, default)", global: "global (default)" };
const FIELDS = ["recipe", "schedule", "head_score", "head_unit", "residual_target"];
const OWN = { slimgpt: MEASURED, flap: "global" }; // the others': uniform
const UNIFORM = "uniform"; // a schedule, and the format that needs it

const isUniform = (spec) => Boolean(spec.formats?.includes(UNIFORM));

/** What holds where neither a recipe nor a schedule is asked for (slimgpt/spec/recipe.py). */
const ownOf = (method, uniform) => (uniform ? UNIFORM : OWN[method] ?? UNIFORM);

/** The paper's recipe or a schedule; "" for what holds by default, and for ratios that a file gave. */
function sizesOf(spec) {
  const shape = spec.schedule?.shape;
  return spec.recipe === PAPER ? PAPER : shape in SHAPES ? shape : "";
}

/** Whether a form still asks for the sizes that the job asked for from which it began. */
function isKept(base, { sizes, method, uniform }) {
  if (sizes !== sizesOf(base) || method !== base.method) return false;
  return sizes !== "" || base.schedule?.shape === "explicit" || ownOf(method, uniform) === ownOf(method, isUniform(base));
}

/**
 * The part of a request that sets the layers' sizes.
 *
 * @param base the specification that the form began with.
 * @param asked what the form says: `sizes`, `method`, and whether it asks for format `uniform`.
 */
export function sizesPart(base, asked) {
  if (isKept(base, asked)) return Object.fromEntries(FIELDS.filter((name) => name in base).map((name) => [name, base[name]]));
  if (asked.sizes === PAPER) return { recipe: PAPER };
  return asked.sizes ? { schedule: { shape: asked.sizes } } : {};
}

/** A specification without what `sizesPart` gives anew. */
export function withoutSizes(spec) {
  const left = { ...spec };
  for (const name of spec.recipe ? FIELDS : ["schedule"]) delete left[name];
  return left;
}

/** The select, and `tell`, which says in it what the default is for a method and its formats. */
export function sizesSelect(base) {
  const chosen = sizesOf(base);
  const made = ([value, words]) => h("option", { value, selected: value === chosen }, words);
  const own = made(["", ""]);
  const recipes = h("optgroup", { label: "Recipes" }, made([PAPER, "the paper's"]));
  const schedules = h("optgroup", { label: "Schedules" }, Object.entries(SHAPES).map(made));
  const control = h("select", null, recipes, schedules);

  function tell(method, uniform) {
    const value = control.value;
    const before = base.schedule?.shape === "explicit" && method === base.method;
    const standard = ownOf(method, uniform);
    own.textContent = before ? "the ratios of the earlier job" : DEFAULTS[standard];
    (standard === MEASURED && !before ? recipes : schedules).prepend(own);
    control.value = value; // moved, an option is no longer the chosen one
  }
  if (!chosen) recipes.prepend(own);
  else schedules.append(own);
  control.value = chosen;
  return { control, tell };
}
