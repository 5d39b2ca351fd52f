// Webhooks: who is told of the ends of jobs, and what became of each message.

import { pagesOf } from "../cards/pages_of.js";
import { secretCard } from "../cards/secret.js";
import { h } from "../parts/element.js";
import { complain, confirmed, say } from "../parts/notice.js";
import { ask, path, post } from "../parts/service.js";
import { ago, duration, moment } from "../parts/words.js";

const EVENTS = ["job.succeeded", "job.failed", "job.cancelled"];

function attempt(one) {
  const said = one.error ? one.error : `answered ${one.status_code}`;
  return h("li", null, `attempt ${one.attempt}: ${said}`, one.seconds !== null && ` after ${duration(one.seconds)}`, one.at && `, ${ago(one.at)}`);
}

/** Show the page in an element; returns a function that ends it. */
export async function webhooks(root, { admin }) {
  const fault = h("p", { id: "e-url", class: "fault", role: "alert" });
  const url = h("input", { id: "url", type: "url", required: true, autocomplete: "off", spellcheck: "false", placeholder: "https://example.org/hooks/slimgpt", "aria-describedby": "e-url" });
  const description = h("input", { id: "description", type: "text", autocomplete: "off", maxlength: 256 });
  const ticks = EVENTS.map((name) => h("label", { class: "tick" }, h("input", { type: "checkbox", name, checked: true }), h("span", null, name)));
  const made = h("div");
  const form = h("form", { class: "card", onsubmit: create }, h("h2", null, "Add a webhook"),
    h("div", { class: "field" }, h("label", { for: "url" }, "URL"), url, h("p", { class: "quiet" }, "https and a public host. Messages are signed as Standard Webhooks say."), fault),
    h("div", { class: "field" }, h("label", { for: "description" }, "Description"), description),
    h("div", { class: "choices", role: "group", "aria-label": "Events" }, ticks),
    h("div", { class: "actions" }, h("button", { class: "primary" }, "Add webhook")));
  const list = pagesOf("webhooks", item, [h("h2", null, "No webhooks yet"), h("p", null, "A webhook is told when your jobs end, so that nothing needs to poll.")]);
  root.append(h("h1", null, "Webhooks"), form, made, list.element);

  const doing = (run, words) => async () => {
    try {
      await run();
      say(words);
      await list.load();
    } catch (error) {
      complain(error);
    }
  };

  function item(hook) {
    const at = `webhooks/${path(hook.id)}`;
    const state = hook.enabled ? "valid" : "disabled";
    const change = (values) => ask(at, { method: "PATCH", headers: { "Content-Type": "application/json" }, body: JSON.stringify(values) });
    const button = (words, act, kind = "small") => h("button", { type: "button", class: kind, "aria-label": `${words}: ${hook.url}`, onclick: act }, words);
    const log = pagesOf(`${at}/deliveries`, (one) => delivery(at, one, log), h("p", null, "Nothing was sent yet."));
    const fold = h("details", { class: "wide", ontoggle: (event) => event.currentTarget.open && log.load().catch(complain) }, h("summary", null, "Deliveries"), log.element);
    async function test() {
      try {
        await post(`${at}/test`);
        say("A test is on its way.");
        if (fold.open) await log.load();
        else fold.open = true; // which loads them
      } catch (error) {
        complain(error);
      }
    }
    return h("div", { class: "item" },
      h("div", null, h("h2", null, hook.url, h("span", { class: `badge ${state}` }, hook.enabled ? "enabled" : "disabled")),
        hook.description && h("p", null, hook.description),
        h("p", { class: "quiet" }, `${hook.events.join(", ")}; added ${ago(hook.created_at)}`, admin && `, of ${hook.owner}`),
        hook.disabled_reason && h("p", { class: "fault" }, `Disabled: ${hook.disabled_reason}`),
        hook.failing_since && h("p", { class: "fault" }, `Fails since ${moment(hook.failing_since)}`)),
      h("div", { class: "actions" },
        hook.enabled && button("Send a test", test),
        button(hook.enabled ? "Disable" : "Enable", doing(() => change({ enabled: !hook.enabled }), hook.enabled ? "The webhook is disabled." : "The webhook is enabled.")),
        button("New secret", () => rotate(at, hook)),
        button("Delete", async () => {
          if (await confirmed("Delete this webhook?", "Its deliveries are removed with it.", "Delete the webhook")) await doing(() => ask(at, { method: "DELETE" }), "The webhook is deleted.")();
        }, "small danger")),
      fold);
  }

  function delivery(at, one, log) {
    const again = async () => {
      try {
        await post(`${at}/deliveries/${path(one.id)}/redeliver`);
        say("It is sent again.");
        await log.load();
      } catch (error) {
        complain(error);
      }
    };
    return h("div", { class: "item" },
      h("div", null, h("h3", null, one.event, " ", h("span", { class: `badge ${one.status}` }, one.status)),
        h("p", { class: "quiet" }, h("time", { datetime: one.created_at, title: moment(one.created_at) }, ago(one.created_at)), one.job_id && [", ", h("a", { href: `#/jobs/${path(one.job_id)}` }, one.job_id)],
          one.next_at && (new Date(one.next_at) > Date.now() ? `; next attempt ${ago(one.next_at)}` : "; an attempt is due")),
        one.log.length > 0 && h("ol", { class: "attempts" }, one.log.map(attempt))),
      h("div", { class: "actions" }, one.status !== "pending" && h("button", { type: "button", class: "small", "aria-label": `Send ${one.id} again`, onclick: again }, "Send again")));
  }

  async function rotate(at, hook) {
    if (!(await confirmed("Make a new secret?", "For 24 hours messages are also signed with the old one.", "Make a new secret"))) return;
    try {
      const changed = await post(`${at}/rotate`);
      made.replaceChildren(secretCard(`The new secret of ${hook.url}`, "It is not shown again.", changed.secret));
      await list.load();
    } catch (error) {
      complain(error);
    }
  }

  async function create(event) {
    event.preventDefault();
    fault.textContent = "";
    const events = EVENTS.filter((name) => form.elements.namedItem(name).checked);
    const button = form.querySelector(".actions button");
    button.disabled = true;
    try {
      const hook = await post("webhooks", { url: url.value.trim(), description: description.value.trim(), events });
      made.replaceChildren(secretCard("The webhook's secret", "It is not shown again. Any library of Standard Webhooks checks messages with it.", hook.secret));
      form.reset();
      await list.load();
    } catch (error) {
      if (error.status !== 401) fault.textContent = error.message;
    }
    button.disabled = false;
  }

  await list.load();
  return () => {};
}
