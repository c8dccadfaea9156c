// JSON as it was written: 3.0 stays 3.0, and no digit of a number is lost, as both would be in numbers of JavaScript.

import { count, cut } from "./format.js";
import { tagged } from "./schema.js";

// A text that is cut off is a token as well.
const TOKENS = /"(?:[^"\\]|\\.)*(?:"|\\?$)|[{}[\],:]|[^\s{}[\],:"]+/g;

/** Returns the text of a member of an object; null if there is none. `text` is valid JSON. */
export function member(text, name) {
  let depth = 0;
  let key = null;
  let start = -1;
  let isKey = false;
  TOKENS.lastIndex = 0;
  for (let found = TOKENS.exec(text); found; found = TOKENS.exec(text)) {
    const [token] = found;
    const ends = depth === 1 && (token === "," || token === "}");
    if (ends && start >= 0) return text.slice(start, found.index).trim();
    if (token === "{" || token === "[") depth++;
    else if (token === "}" || token === "]") depth--;
    if (depth === 1 && isKey && token.startsWith('"')) key = JSON.parse(token);
    if (depth === 1 && token === ":" && key === name) start = TOKENS.lastIndex;
    if (depth === 1) isKey = token === "," || token === "{";
  }
  return null;
}

/** Returns JSON with line breaks, as `JSON.stringify(…, null, 2)` would, or in one line; texts without needless escapes. */
export function arranged(text, lines = true) {
  const tokens = text.match(TOKENS) ?? [];
  let depth = 0;
  let written = "";
  const line = () => (lines ? `\n${"  ".repeat(depth)}` : "");
  tokens.forEach((token, place) => {
    const before = tokens[place - 1];
    if (token === "{" || token === "[") {
      depth++;
      written += token;
      if (tokens[place + 1] !== "}" && tokens[place + 1] !== "]") written += line();
    } else if (token === "}" || token === "]") {
      depth--;
      written += before === "{" || before === "[" ? token : `${line()}${token}`;
    } else if (token === ",") {
      written += lines ? `,${line()}` : ", ";
    } else if (token === ":") {
      written += ": ";
    } else {
      written += token.startsWith('"') ? plain(token) : token;
    }
  });
  return written;
}

/** Returns the beginning of JSON in one line. */
export function oneLineOf(text, most = 200) {
  // Escapes take up to six characters each.
  const line = arranged(text.slice(0, 6 * most), false);
  return line.length > most || text.length > 6 * most ? `${line.slice(0, most)}…` : line;
}

function plain(token) {
  try {
    return JSON.stringify(JSON.parse(token));
  } catch {
    // It was cut off, perhaps within an escape.
    return token.replace(/\\(?:u[\da-f]{0,3})?$/i, "");
  }
}

/** A value as people read it: a text as it is, anything else with line breaks; of a large one the beginning. */
export function readable(json, most = 200_000) {
  if (json.startsWith('"')) return cut(JSON.parse(json), most);
  const more = json.length - most;
  return arranged(json.slice(0, most)) + (more > 0 ? `… (${count(more)} more characters)` : "");
}

const SCALARS = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;

/** Reads JSON; numbers that a browser would change are tagged. Throws a SyntaxError that a person can read. */
export function parseExact(text) {
  // What is not JSON is told of as it was written.
  JSON.parse(text);
  return JSON.parse(text.replace(SCALARS, kept));
}

function kept(token) {
  if (token.startsWith('"')) return token;
  const number = Number(token);
  if (/^-?\d+$/.test(token)) return Number.isSafeInteger(number) ? token : JSON.stringify(tagged("int", token));
  return Number.isInteger(number) || !Number.isFinite(number) ? JSON.stringify(tagged("float", token)) : token;
}
