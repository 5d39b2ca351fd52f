// A job's files: small ones are downloaded here, for large ones there is a command.

import { h } from "./element.js";
import { complain, copyButton, say } from "./notice.js";
import { ask, key, path } from "./service.js";
import { table } from "./table.js";
import { bytes } from "./words.js";

const MOST_IN_BROWSER = 200 * 2 ** 20; // it is held in memory: an <a href> could not send the key

const SHARD = /^(.*)-\d{5}-of-(\d{5})(\.\w+)$/;

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
  const at = `v1/jobs/${path(id)}/report.html`;
  return h("a", { class: "button small", href: at, target: "_blank", rel: "noopener" }, words);
}

function downloadButton(id, file) {
  async function start(event) {
    const button = event.currentTarget;
    button.disabled = true;
    try {
      if (!(await save(`${address(id, file.path)}?redirect=false`, file.path.split("/").at(-1)))) {
        say("The file lies in the object store: fetch it by the command.");
        button.replaceWith(copyButton(curl(id, file), file.path, "Copy curl"));
      }
    } catch (error) {
      complain(error);
    }
    button.disabled = false;
  }
  return h("button", { type: "button", class: "small", "aria-label": `Download ${file.path}`, onclick: start }, "Download");
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function curl(id, file) {
  const authorization = key.get() ? ' -H "Authorization: Bearer $SLIMGPT_API_KEY"' : "";
  const name = file.path.split("/").at(-1);
  return `curl -fL${authorization} -o ${quoted(name)} ${quoted(new URL(`v1/${address(id, file.path)}`, document.baseURI).href)}`;
}

/** The parts of one model's weights as one entry; other files as they are. */
function folded(items) {
  const entries = new Map();
  for (const file of items) {
    const [, stem, total, suffix] = SHARD.exec(file.path) ?? [];
    const name = stem === undefined ? file.path : `${stem}-*-of-${total}${suffix}`;
    if (!entries.has(name)) entries.set(name, []);
    entries.get(name).push(file);
  }
  return [...entries];
}

function fileRow(id, file) {
  return Object.assign([
    file.path, bytes(file.size), h("code", { title: file.sha256 }, file.sha256.slice(0, 12)),
    file.size <= MOST_IN_BROWSER ? downloadButton(id, file) : copyButton(curl(id, file), file.path, "Copy curl"),
  ], { key: `file ${file.path}` });
}

function shardsRow(id, name, shards) {
  const fold = h("details", { "data-key": `shards ${name}` }, h("summary", null, name),
    h("ul", { class: "shards" }, shards.map((file) => {
      const [path, size, sha256, action] = fileRow(id, file);
      return h("li", null, h("span", null, path), h("span", null, size), sha256, action);
    })));
  const total = shards.reduce((sum, file) => sum + file.size, 0);
  return Object.assign([fold, bytes(total), `${shards.length} shards`, ""], { key: `file ${name}` });
}

/** All files, with the command that fetches and checks them together. */
export function files(id, items) {
  const total = items.reduce((sum, file) => sum + file.size, 0);
  const here = new URL(".", document.baseURI).href.replace(/\/$/, "");
  const command = `slimgpt download ${id} ${id} --url ${here}`;
  return [
    h("p", null, `${items.length} files, ${bytes(total)}. Fetch them all, each checked against its sha256:`),
    h("div", { class: "command" }, h("code", { tabindex: 0 }, command), copyButton(command, "the command that fetches all files")),
    table("Files", "files", ["File", "Size", "sha256", "-Action"],
      folded(items).map(([name, found]) => (found.length > 1 ? shardsRow(id, name, found) : fileRow(id, found[0])))),
  ];
}
