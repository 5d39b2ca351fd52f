// What is shown once: a new key, a new secret.

import { h } from "../parts/element.js";
import { copyButton } from "../parts/notice.js";

/** A card with a secret that cannot be shown again; it goes when it is dismissed. */
export function secretCard(title, words, secret) {
  const card = h("section", { class: "card secret", role: "status", "aria-label": title }, h("h2", null, title), h("p", null, words),
    h("div", { class: "command" }, h("code", null, secret), copyButton(secret, "the secret")),
    h("div", { class: "actions" }, h("button", { type: "button", class: "small", onclick: () => card.remove() }, "I have stored it")));
  return card;
}
