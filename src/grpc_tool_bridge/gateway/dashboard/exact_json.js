// JSON as Python reads it: no integer is rounded, and 1.0 is no integer.

import { tokensOf } from "./raw_json.js";
import { tagged } from "./schema.js";

/** Reads JSON; numbers that a browser would change are tagged. Throws a SyntaxError that a person can read. */
export function parseExact(text) {
  // What is not JSON is told of as it was written.
  JSON.parse(text);
  return JSON.parse(Array.from(tokensOf(text), ([token]) => kept(token)).join(""));
}

function kept(token) {
  if (!/^[-\d]/.test(token)) return token;
  const number = Number(token);
  if (/^-?\d+$/.test(token)) return Number.isSafeInteger(number) ? token : JSON.stringify(tagged("int", token));
  return Number.isInteger(number) || !Number.isFinite(number) ? JSON.stringify(tagged("float", token)) : token;
}
