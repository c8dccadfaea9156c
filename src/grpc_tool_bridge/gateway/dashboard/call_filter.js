// Which calls somebody wants to see, as the address says it.

import { wordsOf } from "./format.js";

export const STATES = ["waiting", "running", "done", "failed", "cancelled", "unknown"];
/** What the filter of slow calls begins with, in milliseconds. */
export const SLOW_MS = 1_000;
/** The parameters of the address. */
export const FILTERS = ["q", "state", "tool", "session", "worker", "slow"];

/**
 * Returns a function that tells whether a call is wanted.
 *
 * @param {function(string): string} get Returns a parameter: q (words that all must be in it), state, tool, session, worker,
 *   slow (milliseconds that it took or has been going on, at least).
 * @param {number} now The hub's clock.
 */
export function filterOf(get, now) {
  const tests = [];
  for (const name of ["state", "tool", "session", "worker"]) {
    const wanted = get(name);
    if (wanted) tests.push((call) => call[name] === wanted);
  }
  const slow = slowOf(get) * 1_000;
  if (slow) tests.push((call) => (call.elapsedUs(now) ?? 0) >= slow);
  for (const word of wordsOf(get("q"))) tests.push((call) => call.text.includes(word));
  if (tests.length === 0) return () => true;
  if (tests.length === 1) return tests[0];
  return (call) => tests.every((test) => test(call));
}

/** Returns the milliseconds of the filter of slow calls; 0: there is none. */
export function slowOf(get) {
  const slow = Number(get("slow"));
  return slow > 0 && Number.isFinite(slow) ? slow : 0;
}

/** Whether something is filtered. */
export const isFiltered = (get) => FILTERS.some((name) => get(name).trim() !== "");
