// Uploads of calibration texts.

import { ask } from "./service.js";

/** What a file dialogue offers. */
export const TEXT_FILES = ".txt,.jsonl,.ndjson,.csv,.tsv,text/plain";
const TYPES = [[/\.(jsonl|ndjson)$/i, "application/x-ndjson"], [/\.(csv|tsv)$/i, "text/csv"]];

/** Upload a file; the answer, 200 if the text was there already.  Throws as `ask`. */
export function upload(file) {
  const type = TYPES.find(([ending]) => ending.test(file.name))?.[1] ?? "text/plain";
  return ask(`calibration-sets?${new URLSearchParams({ name: file.name })}`, { method: "POST", body: file, headers: { "Content-Type": type } });
}
