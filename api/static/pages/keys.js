// API keys, for admins: who has one, another one, and one less.

import { pagesOf } from "../cards/pages_of.js";
import { secretCard } from "../cards/secret.js";
import { h } from "../parts/element.js";
import { complain, confirmed, say } from "../parts/notice.js";
import { ask, path, post } from "../parts/service.js";
import { ago } from "../parts/words.js";

const when = (text, words) => (text ? `${words} ${ago(text)}` : "");

/** Show the page in an element; returns a function that ends it. */
export async function keys(root, { admin }) {
  root.append(h("h1", null, "API keys"));
  if (!admin) {
    root.append(h("div", { class: "card" }, h("p", null, "Keys are for admins, of a service that asks for keys.")));
    return () => {};
  }
  const fault = h("p", { id: "e-owner", class: "fault", role: "alert" });
  const owner = h("input", { id: "owner", type: "text", required: true, autocomplete: "off", spellcheck: "false", maxlength: 128, "aria-describedby": "e-owner" });
  const name = h("input", { id: "key-name", type: "text", autocomplete: "off", maxlength: 128, placeholder: "laptop" });
  const makeAdmin = h("input", { type: "checkbox" });
  const made = h("div");
  const form = h("form", { class: "card", onsubmit: create }, h("h2", null, "Create a key"),
    h("div", { class: "row" },
      h("div", { class: "field" }, h("label", { for: "owner" }, "Owner"), owner),
      h("div", { class: "field" }, h("label", { for: "key-name" }, "Name"), name)),
    h("label", { class: "tick" }, makeAdmin, h("span", null, "Admin", h("span", { class: "quiet" }, " – sees the jobs of all owners, and keys"))),
    fault, h("div", { class: "actions" }, h("button", { class: "primary" }, "Create key")));
  const list = pagesOf("keys", item, h("p", null, "There are no keys."));
  root.append(form, made, list.element);

  function item(key) {
    const state = key.revoked_at ? "revoked" : "valid";
    return h("div", { class: "item" },
      h("div", null, h("h2", null, key.owner, key.name && h("span", { class: "quiet" }, key.name), h("span", { class: `badge ${state}` }, state), key.admin && h("span", { class: "badge" }, "admin")),
        h("p", { class: "quiet" }, [when(key.created_at, "created"), key.last_used_at ? when(key.last_used_at, "used") : "never used", when(key.revoked_at, "revoked")].filter(Boolean).join(", ")),
        h("p", { class: "quiet" }, h("code", null, key.id))),
      h("div", { class: "actions" }, !key.revoked_at && h("button", { type: "button", class: "small danger", "aria-label": `Revoke ${key.id} of ${key.owner}`, onclick: () => revoke(key) }, "Revoke")));
  }

  async function create(event) {
    event.preventDefault();
    fault.textContent = "";
    const button = form.querySelector("button");
    button.disabled = true;
    try {
      const key = await post("keys", { owner: owner.value.trim(), name: name.value.trim(), admin: makeAdmin.checked });
      made.replaceChildren(secretCard(`The key of ${key.owner}`, "It is not shown again: give it to its owner now.", key.key));
      form.reset();
      await list.load();
    } catch (error) {
      if (error.status !== 401) fault.textContent = error.message;
    }
    button.disabled = false;
  }

  async function revoke(key) {
    if (!(await confirmed("Revoke this key?", `Whoever uses ${key.name || key.id} of ${key.owner} is refused from then on. A revoked key cannot be brought back.`, "Revoke the key"))) return;
    try {
      await ask(`keys/${path(key.id)}`, { method: "DELETE" });
      say("The key is revoked.");
      await list.load();
    } catch (error) {
      complain(error);
    }
  }

  await list.load();
  return () => {};
}
