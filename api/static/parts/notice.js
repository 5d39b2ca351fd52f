// What the page says and asks beside its content: short notices, a question before harm is done, and
// across its top that the service has stopped answering.

import { h, show } from "./element.js";
import { clock } from "./words.js";

const SECONDS = 8;
let answered = Date.now();
let stale = null;

/** Say something for a while; errors until they are dismissed. */
export function say(text, kind = "info") {
  const said = [...document.querySelectorAll(".notice > span")].some((node) => node.textContent === text);
  if (said) return; // asked again every few seconds, it is still the same
  const notice = h("div", { class: `notice ${kind}` }, h("span", null, text),
    h("button", { class: "plain", "aria-label": "Dismiss", onclick: () => notice.remove() }, "×"));
  document.getElementById("notices").append(notice);
  if (kind !== "error") setTimeout(() => notice.remove(), SECONDS * 1000);
}

/** Say what went wrong, unless it is that a key is wanted: the page asks for that itself. */
export function complain(error) {
  if (error.status === 401 || error.name === "AbortError") return;
  say(error.message, "error");
}

/** Ask before something is done that cannot be undone; resolves to whether to do it. */
export function confirmed(question, explanation, action) {
  return new Promise((resolve) => {
    const close = (answer) => () => dialog.close(answer);
    const dialog = h("dialog", { "aria-labelledby": "question", "aria-describedby": "explanation" },
      h("h2", { id: "question" }, question),
      h("p", { id: "explanation" }, explanation),
      h("div", { class: "actions" },
        h("button", { type: "button", onclick: close("no") }, "Keep it"),
        h("button", { type: "button", class: "danger", onclick: close("yes") }, action)));
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

/**
 * Copy a text; the button says so for a moment.
 *
 * @param what is copied, for those who hear the button without seeing where it stands.
 */
export function copyButton(text, what, label = "Copy") {
  const name = (said) => ({ textContent: said, ariaLabel: `${said}: ${what}` });
  async function copy(event) {
    const button = event.currentTarget;
    try {
      await navigator.clipboard.writeText(text);
      Object.assign(button, name("Copied"));
    } catch {
      // Without https browsers keep the clipboard closed.
      Object.assign(button, name("Select and copy it"));
    }
    setTimeout(() => Object.assign(button, name(label)), 2000);
  }
  return Object.assign(h("button", { type: "button", class: "small", onclick: copy }), name(label));
}

function drawStale() {
  document.body.classList.toggle("stale", stale !== null);
  show(document.getElementById("stale"), stale !== null && h("p", null,
    h("strong", null, `The service has not answered since ${clock(stale)}. `),
    "What may have changed since then is dimmed. The page goes on asking."));
}

/** The service has answered: the page shows what is. */
export function heard() {
  answered = Date.now();
  if (stale === null) return;
  stale = null;
  drawStale();
}

/** The service did not answer, or could not: since when, stands across the top until it does. */
export function lost() {
  if (stale !== null) return;
  stale = answered;
  drawStale();
}
