// JSON as it was written: 3.0 stays 3.0, and no digit of a number is lost, as both would be in numbers of JavaScript.

import { count, cut } from "./format.js";
import { tagged } from "./schema.js";

/** A sign, a number or a word, or the beginning of a text. */
const TOKENS = /[{}[\],:"]|[^\s{}[\],:"]+/g;

/**
 * Yields the tokens of JSON as [token, where it begins]; a text that is cut off is one as well.
 *
 * A regular expression for a whole text would run out of memory at one of some millions of characters.
 */
function* tokensOf(text) {
  TOKENS.lastIndex = 0;
  for (let found = TOKENS.exec(text); found; found = TOKENS.exec(text)) {
    const { 0: token, index } = found;
    const end = token === '"' ? endOfText(text, index) : TOKENS.lastIndex;
    yield [token === '"' ? text.slice(index, end) : token, index];
    // Others may have read other JSON meanwhile.
    TOKENS.lastIndex = end;
  }
}

function endOfText(text, start) {
  for (let at = text.indexOf('"', start + 1); at >= 0; at = text.indexOf('"', at + 1)) {
    let first = at;
    while (text[first - 1] === "\\") first--;
    if ((at - first) % 2 === 0) return at + 1;
  }
  return text.length;
}

/** Returns the text of a member of an object; null if there is none. `text` is valid JSON. */
export function member(text, name) {
  let depth = 0;
  let key = null;
  let start = -1;
  let isKey = false;
  for (const [token, index] of tokensOf(text)) {
    const ends = depth === 1 && (token === "," || token === "}");
    if (ends && start >= 0) return text.slice(start, index).trim();
    if (token === "{" || token === "[") depth++;
    else if (token === "}" || token === "]") depth--;
    if (depth === 1 && isKey && token.startsWith('"')) key = JSON.parse(token);
    if (depth === 1 && token === ":" && key === name) start = index + 1;
    if (depth === 1) isKey = token === "," || token === "{";
  }
  return null;
}

/** Returns JSON with line breaks, as `JSON.stringify(…, null, 2)` would, or in one line; texts without needless escapes. */
export function arranged(text, lines = true) {
  const tokens = Array.from(tokensOf(text), ([token]) => token);
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
