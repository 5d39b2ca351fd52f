// Signing in: the page asks for an API key when the API does.

import { h } from "./element.js";
import { key, read } from "./service.js";

/** Ask for a key in an element; `done` is called with the overview that it opens. */
export function signIn(root, done) {
  const input = h("input", {
    id: "key", type: "password", required: true, autocomplete: "off", spellcheck: "false",
    placeholder: "slim_…", "aria-describedby": "key-help key-error",
  });
  const error = h("p", { id: "key-error", class: "fault", role: "alert" });
  const button = h("button", { class: "primary" }, "Sign in");
  const form = h("form", { class: "card sign-in", onsubmit: submit },
    h("h1", null, "Sign in"),
    h("label", { for: "key" }, "API key"), input,
    h("p", { id: "key-help", class: "quiet" }, "This tab keeps it until it is closed. ",
      h("code", null, "slimgpt keys create --owner NAME"), " makes one."),
    error, button);

  async function submit(event) {
    event.preventDefault();
    button.disabled = true;
    error.textContent = "";
    key.set(input.value.trim());
    try {
      done(await read("overview"));
    } catch (fault) {
      key.forget();
      error.textContent = fault instanceof TypeError ? "That cannot be a key." : fault.message; // no header can hold it
      input.select();
    }
    button.disabled = false;
  }
  root.append(form);
  input.focus();
}
