// Workers: which are alive, on which device, with which job, when last heard.

import { h, show } from "../parts/element.js";
import { complain } from "../parts/notice.js";
import { path, read, Unreachable } from "../parts/service.js";
import { ago, duration, moment } from "../parts/words.js";

const EVERY = 5000;

function item(worker) {
  const heard = worker.silent_seconds < 15 ? "just now" : `${duration(worker.silent_seconds)} ago`;
  return h("li", { "data-key": worker.id }, h("div", { class: "item" },
    h("div", null, h("h2", null, worker.device, h("span", { class: `badge ${worker.status}` }, worker.status)),
      h("p", { class: "quiet" }, `Heard ${heard}; started `, h("time", { datetime: worker.started_at, title: moment(worker.started_at) }, ago(worker.started_at)), `; version ${worker.version}`),
      h("p", { class: "quiet" }, worker.host ? `${worker.host}, process ${worker.pid}` : `worker ${worker.id}`)),
    h("div", { class: "actions" }, worker.job && h("a", { class: "button small", href: `#/jobs/${path(worker.job)}` }, "Its job"))));
}

/** Show the page in an element; returns a function that ends it. */
export async function workers(root) {
  const list = h("ul", { class: "items", "aria-label": "Workers" });
  const none = h("div", { class: "empty" });
  let ended = false;
  let timer = null;
  root.append(h("h1", null, "Workers"), list, none);

  async function refresh() {
    clearTimeout(timer);
    try {
      const { items } = await read("workers");
      if (ended) return;
      show(list, items.map(item));
      show(none, !items.length && [h("h2", null, "No worker was heard"),
        h("p", null, "Jobs wait in the queue until one starts: ", h("code", null, "slimgpt up"), " starts one, and so does ", h("code", null, "python -m worker"), ".")]);
    } catch (error) {
      if (!ended && !(error instanceof Unreachable)) complain(error);
    }
    if (!ended && !document.hidden) timer = setTimeout(refresh, EVERY);
  }
  const seen = () => { if (!document.hidden) refresh(); };
  document.addEventListener("visibilitychange", seen);
  await refresh();
  return () => {
    ended = true;
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", seen);
  };
}
