// What has failed, in the hub's own words.

import { facts, h } from "./dom.js";
import { cut } from "./format.js";

/** Texts of the hub are bounded; that of a tool may fill many screens all the same. */
const MAX_CHARS = 20_000;
/** Details that the words of the message say already, or that say nothing to a person. */
const TOLD = new Set(["origin"]);

/**
 * An error as elements: its type and message, its details, and its traceback, folded.
 *
 * @param {object} info As ErrorInfo: type, message, details, stacktrace.
 * @param {string} [advice] What one can do about it, if the message does not say it.
 */
export function failure(info, advice = "") {
  const details = Object.entries(info.details ?? {}).filter(([name]) => !TOLD.has(name));
  return h(
    "div.failure",
    null,
    h("p.bad", null, h("strong", null, info.type), info.message ? `: ${cut(info.message, MAX_CHARS)}` : ""),
    advice ? h("p", null, advice) : null,
    details.length ? facts(details.map(([name, value]) => [name, cut(value, MAX_CHARS)])) : null,
    info.stacktrace
      ? h("details", null, h("summary", null, "Traceback"), h("pre", { tabindex: 0 }, cut(info.stacktrace, MAX_CHARS)))
      : null,
  );
}
