// What has failed, in the hub's own words.

import { ApiError } from "./api.js";
import { facts, folded, h, pre, replace } from "./dom.js";
import { cut } from "./format.js";

/** Texts of the hub are bounded; that of a tool may fill many screens all the same. */
const MAX_CHARS = 20_000;

/**
 * An error as elements: its type and message, its details, and its traceback, folded.
 *
 * @param {object} info As ErrorInfo: type, message, details, stacktrace.
 * @param {string|Node|Array} [advice] What one can do about it, if the message does not say it.
 */
export function failure(info, advice = "") {
  // The words of the message say its origin already.
  const details = Object.entries(info.details ?? {}).filter(([name]) => name !== "origin");
  return h(
    "div.failure",
    null,
    h("p.bad", null, h("strong", null, info.type), info.message ? `: ${cut(info.message, MAX_CHARS)}` : ""),
    advice ? h("div", null, advice) : null,
    details.length ? facts(details.map(([name, value]) => [name, cut(value, MAX_CHARS)])) : null,
    info.stacktrace ? folded("Traceback", pre(cut(info.stacktrace, MAX_CHARS))) : null,
  );
}

/** Where it is said what has failed; the same is said once, however often it happens. */
export class Problem {
  constructor() {
    this.root = h("div", { role: "alert" });
    this.shown = "";
  }

  /** Shows an ApiError; null: all is well. Any other error is thrown again. */
  show(error, advice = "") {
    if (error && !(error instanceof ApiError)) throw error;
    const stamp = error ? `${error.status} ${error.info.type} ${error.message}` : "";
    if (stamp === this.shown) return;
    this.shown = stamp;
    replace(this.root, error ? failure(error.info, advice) : null);
  }
}
