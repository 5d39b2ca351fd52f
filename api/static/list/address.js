// What the list shows, as the part of the address after `#/?`: a link shares filters, order and page.

const DEFAULTS = { status: "", search: "", owner: "", sort: "-created_at", cursor: "", page: "1" };
const ASKED = ["status", "search", "owner", "sort", "cursor"];

/** The state of the list that an address names. */
export const stateOf = (query) =>
  Object.fromEntries(Object.entries(DEFAULTS).map(([name, value]) => [name, query.get(name) ?? value]));

const said = (state, names) =>
  new URLSearchParams(names.filter((name) => state[name] !== DEFAULTS[name]).map((name) => [name, state[name]]));

/** The address of a state. */
export function addressOf(state) {
  const query = said(state, Object.keys(DEFAULTS)).toString();
  return query ? `#/?${query}` : "#/";
}

/** Where the API has the jobs of a state. */
export function requestOf(state, limit) {
  const query = said(state, ASKED);
  query.set("limit", limit);
  return `jobs?${query}`;
}

/** Whether a state leaves jobs out. */
export const isFiltered = (state) => Boolean(state.status || state.search || state.owner);
