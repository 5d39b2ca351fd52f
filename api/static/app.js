// The dashboard: header, sign-in, and the view that the address names after `#`.

import { h, show } from "./parts/element.js";
import { compare } from "./pages/compare.js";
import { form } from "./pages/form.js";
import { job } from "./pages/job.js";
import { keys } from "./pages/keys.js";
import { list } from "./pages/list.js";
import { texts } from "./pages/texts.js";
import { webhooks } from "./pages/webhooks.js";
import { workers } from "./pages/workers.js";
import { say } from "./parts/notice.js";
import { key, mayPass, onUnauthorized, readiness, read } from "./parts/service.js";
import { signIn } from "./parts/session.js";

const HEALTH_EVERY = 15_000;
const KEPT_FOR = 4_000;
const ASK_AGAIN_AFTER = 5_000;
const PAGES = { texts: ["Texts", texts], webhooks: ["Webhooks", webhooks], workers: ["Workers", workers], keys: ["Keys", keys] };
const main = document.getElementById("main");
let leave = () => {};
let known = null;
let asking = false;

function drawHealth({ ready, failed } = {}) {
  const words = ready ? "ready" : failed?.length ? `not ready: ${failed.join(", ")}` : ready === false ? "not ready" : "not reached";
  show(document.getElementById("health"), h("span", { class: `dot ${ready ? "good" : "bad"}`, "aria-hidden": "true" }), words);
}

async function watchHealth() {
  if (!document.hidden) await readiness().then(drawHealth, () => drawHealth());
  setTimeout(watchHealth, HEALTH_EVERY);
}

function drawWho() {
  const who = document.getElementById("who");
  for (const link of document.querySelectorAll("[data-admin]")) link.hidden = !(key.get() && known?.admin);
  if (!key.get() || !known) return show(who);
  return show(who, h("span", { class: "quiet" }, known.owner + (known.admin ? " (admin)" : "")),
    h("button", { type: "button", class: "plain" }, "Sign out"));
}
document.getElementById("who").addEventListener("click", (event) => {
  if (!event.target.closest("button")) return;
  key.forget();
  known = null;
  location.hash = "#/";
  route();
});

/** Who asks and how many jobs there are; not older than some seconds. */
async function overview() {
  if (!known || Date.now() - known.at > KEPT_FOR) {
    known = { ...(await read("overview")), at: Date.now() };
    drawWho();
  }
  return known;
}

function askForKey() {
  if (asking) return;
  asking = true;
  leave();
  leave = () => {};
  if (key.get()) say("The API key is not valid, or was revoked.", "error");
  key.forget();
  known = null;
  drawWho();
  document.title = "Sign in – SlimGPT Service";
  main.replaceChildren();
  signIn(main, (found) => {
    known = { ...found, at: Date.now() };
    asking = false;
    document.getElementById("notices").replaceChildren();
    drawWho();
    route();
  });
}

async function view() {
  const [place, query] = location.hash.replace(/^#\/?/, "").split("?");
  const [name, ...rest] = place.split("/").map(decodeURIComponent);
  const { admin } = await overview();
  main.replaceChildren();
  if (name === "jobs" && rest[0]) {
    document.title = "Job – SlimGPT Service";
    return job(main, rest[0]);
  }
  if (name === "compare") {
    document.title = "Comparison – SlimGPT Service";
    return compare(main, new URLSearchParams(query).get("jobs") ?? "");
  }
  if (name === "new") {
    document.title = "New job – SlimGPT Service";
    return form(main, new URLSearchParams(query).get("like"));
  }
  if (PAGES[name]) {
    document.title = `${PAGES[name][0]} – SlimGPT Service`;
    return PAGES[name][1](main, { admin: admin && Boolean(key.get()) });
  }
  document.title = "Jobs – SlimGPT Service";
  return list(main, { admin: admin && Boolean(key.get()), overview, query: new URLSearchParams(query) });
}

async function route() {
  if (asking && !key.get()) return;
  leave();
  leave = () => {};
  const here = location.hash;
  try {
    const end = await view();
    if (location.hash === here) leave = end;
    else end();
  } catch (error) {
    if (error.status === 401 || location.hash !== here) return;
    main.replaceChildren(h("div", { class: "card" }, h("h1", null, error.title ?? "This did not work"), h("p", null, error.message),
      mayPass(error)
        ? h("button", { type: "button", class: "primary", onclick: route }, "Try again")
        : h("p", null, h("a", { href: "#/" }, "← All jobs"))));
    if (!mayPass(error)) return;
    const again = setTimeout(route, ASK_AGAIN_AFTER);
    leave = () => clearTimeout(again);
  }
}

document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the part after # names a view
  main.focus();
});
onUnauthorized(askForKey);
addEventListener("hashchange", () => { route().then(() => main.focus()); });
watchHealth();
route();
