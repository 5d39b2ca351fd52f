// A job's files: small ones are downloaded here, for large ones there is a command.

import { h } from "./element.js";
import { complain, copyButton, say } from "./notice.js";
import { ask, key, path } from "./service.js";
import { bytes } from "./words.js";

const MOST_IN_BROWSER = 200 * 2 ** 20; // it is held in memory: an <a href> could not send the key

const address = (id, file) => `jobs/${path(id)}/artifacts/${path(...file.split("/"))}`;

/** Fetch with the key and let the browser save it; false if it lies in another place, to which the
 * service redirects: this page asks nobody but the service. */
export async function save(from, name) {
  const answer = await ask(from, { redirect: "manual" });
  if (answer.type === "opaqueredirect") return false;
  const url = URL.createObjectURL(await answer.blob());
  const link = h("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
  return true;
}

/** What leads to the report as a page. A tab of its own cannot be given the key, and as a blob of this
 * page a stranger's words would stand where the key lies: who needs a key saves the file. */
export function reportLink(id) {
  const words = "Report as a page";
  if (key.get()) return h("button", { type: "button", class: "small", "data-do": "page" }, words);
  const at = `jobs/${path(id)}/report.html`;
  return h("a", { class: "button small", href: at, target: "_blank", rel: "noopener" }, words);
}

function downloadButton(id, file) {
  const button = h("button", { type: "button", class: "small", "aria-label": `Download ${file.path}`, onclick: start }, "Download");
  async function start() {
    button.disabled = true;
    try {
      if (!(await save(`${address(id, file.path)}?redirect=false`, file.path.split("/").at(-1)))) {
        say("The file lies in the object store: fetch it by the command.");
        button.replaceWith(copyButton(curl(id, file), "Copy curl"));
      }
    } catch (error) {
      complain(error);
    }
    button.disabled = false;
  }
  return button;
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function curl(id, file) {
  const authorization = key.get() ? ' -H "Authorization: Bearer $SLIMGPT_API_KEY"' : "";
  const name = file.path.split("/").at(-1);
  return `curl -fL${authorization} -o ${quoted(name)} ${quoted(new URL(address(id, file.path), document.baseURI).href)}`;
}

/** All files, with the command that fetches and checks them together. */
export function files(id, items) {
  const total = items.reduce((sum, file) => sum + file.size, 0);
  const here = new URL(".", document.baseURI).href.replace(/\/$/, "");
  const command = `slimgpt download ${id} ${id} --url ${here}`;
  return [
    h("p", null, `${items.length} files, ${bytes(total)}. Fetch them all, each checked against its sha256:`),
    h("div", { class: "command" }, h("code", null, command), copyButton(command)),
    h("div", { class: "scroll" }, h("table", { class: "files", "aria-label": "Files" },
      h("thead", null, h("tr", null, ["File", "Size", "sha256", ""].map((name) => h("th", { scope: "col" }, name || h("span", { class: "unseen" }, "Action"))))),
      h("tbody", null, items.map((file) => h("tr", null,
        h("td", null, file.path), h("td", null, bytes(file.size)),
        h("td", null, h("code", { title: file.sha256 }, file.sha256.slice(0, 12))),
        h("td", null, file.size <= MOST_IN_BROWSER ? downloadButton(id, file) : copyButton(curl(id, file), "Copy curl"))))))),
  ];
}
