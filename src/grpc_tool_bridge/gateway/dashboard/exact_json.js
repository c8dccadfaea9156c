// JSON as Python reads it: no integer is rounded, and 1.0 is no integer.

import { tagged } from "./schema.js";

const TOKENS = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;

/** Reads JSON; numbers that a browser would change are tagged. Throws a SyntaxError that a person can read. */
export function parseExact(text) {
  // What is not JSON is told of as it was written.
  JSON.parse(text);
  return JSON.parse(text.replace(TOKENS, kept));
}

function kept(token) {
  if (token.startsWith('"')) return token;
  const number = Number(token);
  if (/^-?\d+$/.test(token)) return Number.isSafeInteger(number) ? token : JSON.stringify(tagged("int", token));
  return Number.isInteger(number) || !Number.isFinite(number) ? JSON.stringify(tagged("float", token)) : token;
}
