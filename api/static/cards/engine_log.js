// How a job's last failed engine ended: its last lines, and its memory.

import { h } from "../parts/element.js";
import { ago, bytes } from "../parts/words.js";

function memory(end) {
  const parts = [
    end.memory_bytes && `${bytes(end.memory_bytes)} a moment before its end`,
    end.peak_bytes && `${bytes(end.peak_bytes)} at its peak`,
    end.available_bytes && `the machine had ${bytes(end.available_bytes)} left`,
  ].filter(Boolean);
  return parts.length ? `Memory: ${parts.join(", ")}.` : null;
}

function ending(status) {
  if (status === null || status === undefined) return "ended";
  return status < 0 ? `was ended by signal ${-status}` : `ended with status ${status}`;
}

/** The card of an engine's end; none if no engine of the job has failed. */
export function engineLog(end, status) {
  if (!end?.ended_at) return null;
  return h("section", { class: "card engine-log", "aria-label": "The engine's last lines" }, h("h2", null, "The engine's last lines"),
    h("p", null, `The engine of attempt ${end.attempt} ${ending(end.exit_status)} during ${end.where}, ${ago(end.ended_at)}. `, memory(end)),
    end.lines.length
      ? h("details", { open: status === "failed", "data-key": "engine-log" }, h("summary", null, `${end.lines.length} lines`), h("pre", { tabindex: 0 }, end.lines.join("\n")))
      : h("p", { class: "quiet" }, "It wrote nothing."));
}
