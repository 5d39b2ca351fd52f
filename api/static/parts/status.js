// A job's status as a badge, its stages as steps. Words that are not known show as they are.

import { h } from "./element.js";
import { duration } from "./words.js";

const KNOWN = ["queued", "running", "cancelling", "succeeded", "failed", "cancelled"];
const OVER = ["succeeded", "failed", "cancelled", "deleted"];
const STAGES = ["start", "resolve", "plan", "prune", "recover", "evaluate", "verify", "publish"];

export const isOver = (status) => OVER.includes(status);

export function badge(status) {
  return h("span", { class: `badge ${KNOWN.includes(status) ? status : "other"}` }, status);
}

/** A bar with its percentage and the time that is left. */
export function bar(standing, label) {
  const value = Math.floor(standing.percent * 10) / 10;
  const left = standing.eta_seconds ? `${duration(standing.eta_seconds)} left` : "";
  return h("span", { class: "bar" },
    h("progress", { max: 100, value, "aria-label": label }, `${value}%`),
    h("span", { class: "number" }, `${Math.floor(value)}%`),
    left && h("span", { class: "quiet" }, left));
}

/** What a screen reader is told of a job's progress: its status, its stage, and each quarter. */
export function announcement(standing) {
  if (isOver(standing.status) || !standing.stage) return `The job is ${standing.status}.`;
  const quarter = Math.floor(standing.percent / 25) * 25;
  return `The job is ${standing.status}, stage ${standing.stage}${quarter ? `, ${quarter}% done` : ""}.`;
}

/** The stages in order, with what was done and what is under way. */
export function steps(stage, status, recovery) {
  const names = STAGES.filter((name) => name !== "recover" || recovery || stage === name);
  const at = status === "succeeded" ? names.length : names.indexOf(stage);
  return h("ol", { class: "steps", "aria-label": "Stages" }, names.map((name, i) => {
    const current = i === at;
    const stopped = current && isOver(status);
    // Only a failure is a fault of the stage: who cancels stops it where it happens to be.
    const state = i < at ? "done" : current ? (stopped ? (status === "failed" ? "stopped" : "left") : "now") : "";
    const said = { done: " (done)", now: " (under way)", stopped: " (failed here)", left: ` (${status} here)` }[state];
    return h("li", { class: state, "aria-current": current && !stopped ? "step" : null }, name,
      said && h("span", { class: "unseen" }, said));
  }));
}
