// The plan beside the form: asked for again while one types, one request at a time, the latest last.

import { coded, h, show } from "../parts/element.js";
import { post } from "../parts/service.js";
import { outlook } from "./outlook.js";

const PAUSE = 600; // after the last key
const LATER = 2500; // where the service plans something else just now
const BUSY = [429, 503];

/**
 * A plan that follows a form.
 *
 * @param root where it is shown.
 * @param inFields puts a refusal into the units of the form.
 * @param body returns the request, or null while there is nothing to plan.
 * @returns `soon()` after a change; `now()`, a promise that fails as the request does; `end()`.
 */
export function livePlan(root, inFields, body) {
  let timer = null;
  let asked = 0;
  let running = null;
  let planned = null;
  let ended = false;

  const note = h("p", { class: "plan-note", role: "status" });
  const place = h("div", { class: "plan-place" });
  root.append(note, place);
  idle();

  function idle() {
    planned = null;
    show(note);
    show(place, h("section", { class: "card" }, h("h2", null, "Plan"), h("p", { class: "quiet" },
      "What would be left of every layer, the memory and the time it takes appear here while you fill in the form. It needs no GPU, and nothing is queued.")));
  }

  function say(words, kind = "quiet") {
    note.className = `plan-note ${kind}`;
    show(note, coded(words));
  }

  async function ask() {
    const mine = ++asked;
    const wanted = await body();
    if (!wanted) return idle();
    const text = JSON.stringify(wanted);
    if (text === planned) {
      place.classList.remove("old");
      return say("");
    }
    place.classList.add("old");
    say("Planning…");
    // One at a time: the service plans one for each owner, and only the last matters.
    await running?.catch(() => {});
    if (mine !== asked || ended) return null;
    running = post("plans", wanted);
    let plan;
    try {
      plan = await running;
    } catch (thrown) {
      if (mine === asked) throw thrown;
      return null;
    }
    if (mine !== asked || ended) return null;
    planned = text;
    say("");
    place.classList.remove("old");
    show(place, outlook(plan));
    return null;
  }

  function retell(thrown) {
    if (ended || thrown.status === 401) return;
    if (BUSY.includes(thrown.status)) return later(LATER);
    say(inFields(thrown.message), "fault");
  }

  function later(milliseconds) {
    clearTimeout(timer);
    timer = setTimeout(() => ask().catch(retell), milliseconds);
  }

  return {
    soon: () => later(PAUSE),
    now() {
      clearTimeout(timer);
      planned = null;
      return ask().catch((thrown) => { say(""); throw thrown; });
    },
    end() { ended = true; clearTimeout(timer); },
  };
}
