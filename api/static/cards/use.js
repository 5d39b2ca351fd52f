// What a finished job's files are good for: code for each loader, and what a token costs less.

import { tokenTiles } from "../form/outlook.js";
import { h } from "../parts/element.js";
import { copyButton } from "../parts/notice.js";
import { ofRatio, smallestOf } from "../parts/sweep.js";

const TITLES = {
  transformers: "Load in transformers", vllm: "Serve with vLLM", "llama.cpp": "Run in llama.cpp", curl: "Download with curl",
};
const ORDER = ["transformers", "vllm", "llama.cpp", "curl"];

function snippet(one) {
  const where = [one.folder, one.format !== "all" && one.format !== "exact" && one.format].filter(Boolean).join(", ");
  const code = one.code.trimEnd();
  const title = `${TITLES[one.tool] ?? one.tool} ${where}`.trim();
  return h("details", { class: "snippet", "data-key": `use-${one.tool}-${one.folder}-${one.format}`, open: one.tool === "transformers" && one.format === "exact" },
    h("summary", null, TITLES[one.tool] ?? one.tool, where && ` (${where})`,
      one.proved_by && h("span", { class: "proved" }, `loaded in this job: ${one.proved_by}`)),
    h("div", { class: "code" }, h("pre", { tabindex: 0, role: "group", "aria-label": title }, h("code", null, code)), copyButton(code, title)));
}

/**
 * The card "Use it".
 *
 * @param usage the answer of `/jobs/ID/usage`; none while its files are not there.
 * @param report the job's report, of one model or of a sweep.
 */
export function useIt(usage, report) {
  if (!usage?.items?.length) return null;
  const smallest = smallestOf(report);
  const costs = report?.token_costs ?? smallest?.report?.token_costs;
  const sorted = [...usage.items].sort((a, b) => ORDER.indexOf(a.tool) - ORDER.indexOf(b.tool));
  return h("section", { class: "card use", "aria-label": "Use it" }, h("h2", null, "Use it"),
    costs && h("div", { class: "tiles" }, tokenTiles(costs, ofRatio(smallest))),
    h("p", { class: "quiet" }, "The commands expect the files in a folder named after the job, where both of the downloads put them."),
    sorted.map(snippet));
}
