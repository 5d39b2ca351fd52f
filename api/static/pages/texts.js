// Uploaded texts: what there is, another one, and one less.

import { pagesOf } from "../cards/pages_of.js";
import { h } from "../parts/element.js";
import { complain, confirmed, copyButton, say } from "../parts/notice.js";
import { ask, path } from "../parts/service.js";
import { TEXT_FILES, upload } from "../parts/upload.js";
import { ago, bytes, count, moment } from "../parts/words.js";

/** Show the page in an element; returns a function that ends it. */
export async function texts(root, { admin }) {
  const fault = h("p", { id: "e-upload", class: "fault", role: "alert" });
  const file = h("input", { id: "upload", type: "file", accept: TEXT_FILES, "aria-describedby": "e-upload h-upload" });
  const form = h("form", { class: "card", onsubmit: send },
    h("h2", null, "Upload a text"),
    h("div", { class: "field" }, h("label", { for: "upload" }, "Text file"), file,
      h("p", { id: "h-upload", class: "quiet" }, "Plain text, JSON lines, CSV or TSV in UTF-8. It is checked line by line, and jobs use it as upload:ID."), fault),
    h("div", { class: "actions" }, h("button", { class: "primary" }, "Upload")));
  const list = pagesOf("calibration-sets", item, [h("h2", null, "No texts yet"),
    h("p", null, "Upload text like what your model will read: it measures what pruning can spare.")]);
  root.append(h("h1", null, "Texts"), form, list.element);

  function item(set) {
    return h("div", { class: "item" },
      h("div", null, h("h2", null, set.name || set.id, h("span", { class: "badge" }, set.format)),
        h("p", { class: "quiet" }, `${count(set.documents)} documents, ${bytes(set.size)}, `, h("time", { datetime: set.created_at, title: moment(set.created_at) }, ago(set.created_at)), admin && `, of ${set.owner}`),
        h("p", { class: "quiet" }, h("code", null, set.source))),
      h("div", { class: "actions" }, copyButton(set.source, set.source, "Copy its name"),
        h("button", { type: "button", class: "small danger", "aria-label": `Delete ${set.name || set.id}`, onclick: () => remove(set) }, "Delete")));
  }

  async function remove(set) {
    if (!(await confirmed("Delete this text?", "Jobs that are over keep their results; new ones can no longer use it.", "Delete the text"))) return;
    try {
      await ask(`calibration-sets/${path(set.id)}`, { method: "DELETE" });
      say("The text is deleted.");
      await list.load();
    } catch (error) {
      complain(error);
    }
  }

  async function send(event) {
    event.preventDefault();
    const chosen = file.files[0];
    fault.textContent = chosen ? "" : "choose a file";
    if (!chosen) return file.focus();
    const button = form.querySelector("button");
    button.disabled = true;
    try {
      const answer = await upload(chosen);
      say(answer.status === 200 ? "This text was there already." : "The text is uploaded.");
      form.reset();
      await list.load();
    } catch (error) {
      if (error.status !== 401) fault.textContent = error.message;
    }
    button.disabled = false;
    return null;
  }

  await list.load();
  return () => {};
}
