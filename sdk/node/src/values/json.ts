/** JSON text: writing and reading it without loss of digits, of 3.0, or of the order of keys. */
import { SerializationError } from "../errors.js";
import { exactInteger } from "../wire.js";
import { Float, MAX_DIGITS } from "./types.js";

/** Nesting that both ends allow. */
export const MAX_DEPTH = 100;

const OPENING = new Set(["[".charCodeAt(0), "{".charCodeAt(0)]);
const CLOSING = new Set(["]".charCodeAt(0), "}".charCodeAt(0)]);
const QUOTE = '"'.charCodeAt(0);
const BACKSLASH = "\\".charCodeAt(0);

/** What `JSON.parse` may change, or should have refused: numbers of many digits, and halves of surrogate pairs. */
const RISKY = /\d{16}|\\u[dD][89a-fA-F]/;
/** A number that is a float although it is integral. */
const FLOAT = /\d(?:\.|[eE])/;
const NUMBER = /-?(?:0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?/y;
const SPACE = /[ \t\r\n]*/y;
const STRING = /"(?:[^"\\]|\\.)*"/y;

/** Returns the error for a value that is nested too deep. */
export function tooDeep(): SerializationError {
  return new SerializationError(`the value is nested deeper than ${MAX_DEPTH} levels or contains itself; flatten it`);
}

/** Writes plain data that `JSON.stringify` would change: bigints, Floats, -0, and Maps with texts as keys. */
export function writeJson(value: unknown): string {
  if (value === null || value === undefined) return "null";
  switch (typeof value) {
    case "string":
      return JSON.stringify(value);
    case "bigint":
      return value.toString();
    case "boolean":
      return value ? "true" : "false";
    case "number":
      return Number.isSafeInteger(value) && !Object.is(value, -0) ? String(value) : writeFloat(value);
    default:
      break;
  }
  if (value instanceof Float) return writeFloat(value.value);
  if (Array.isArray(value)) return `[${Array.from(value, writeJson).join(",")}]`;
  const entries = value instanceof Map ? [...value] : Object.entries(value).filter(([, item]) => item !== undefined);
  return `{${entries.map(([key, item]) => `${JSON.stringify(key)}:${writeJson(item)}`).join(",")}}`;
}

/** Writes a finite number so that it reads as a float. */
function writeFloat(value: number): string {
  if (Object.is(value, -0)) return "-0.0";
  const text = String(value);
  return /[.e]/.test(text) ? text : `${text}.0`;
}

/**
 * Reads a JSON text.
 *
 * @param exact - Whether integral floats become Floats, and objects whose keys JavaScript would reorder become Maps.
 * @throws SerializationError if it is not JSON, or is nested too deep.
 */
export function readJson(text: string, exact: boolean): unknown {
  checkDepth(text);
  if (exact || RISKY.test(text)) return new Parser(text, exact).parse();
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new SerializationError(`a JSON text cannot be read: ${(error as Error).message}`);
  }
}

/** Reads an integer from decimal digits. */
export function readInteger(digits: string): number | bigint {
  if (!/^-?\d+$/.test(digits)) {
    throw new SerializationError(`${JSON.stringify(digits.slice(0, 40))} is not an integer: expected decimal digits`);
  }
  if (digits.length > MAX_DIGITS) throw new SerializationError(`an integer may have ${MAX_DIGITS} digits`);
  return exactInteger(BigInt(digits));
}

function checkDepth(text: string): void {
  // Each level takes two characters.
  if (text.length <= 2 * MAX_DEPTH) return;
  let depth = 0;
  let inText = false;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (inText) {
      if (code === BACKSLASH) at++;
      else if (code === QUOTE) inText = false;
    } else if (code === QUOTE) inText = true;
    else if (OPENING.has(code)) {
      if (++depth > MAX_DEPTH) throw tooDeep();
    } else if (CLOSING.has(code)) depth--;
  }
}

/** Sets a property even if it has a name that means something to JavaScript. */
export function setOwn(target: Record<string, unknown>, key: string, value: unknown): void {
  if (key === "__proto__") {
    Object.defineProperty(target, key, { value, writable: true, enumerable: true, configurable: true });
  } else {
    target[key] = value;
  }
}

/** Returns a dict with texts as keys: an object, or with `exact` a Map where an object would have another order. */
export function dictOf(entries: readonly (readonly [string, unknown])[], exact: boolean): unknown {
  if (exact && entries.some(([key]) => /^(0|[1-9]\d*)$/.test(key))) return new Map(entries);
  const target: Record<string, unknown> = {};
  for (const [key, value] of entries) setOwn(target, key, value);
  return target;
}

/** Reads numbers digit by digit, where `JSON.parse` would round them. */
class Parser {
  #at = 0;

  constructor(
    private readonly text: string,
    private readonly exact: boolean,
  ) {}

  parse(): unknown {
    const value = this.#value();
    this.#space();
    if (this.#at < this.text.length) throw this.#unexpected();
    return value;
  }

  #value(): unknown {
    this.#space();
    const char = this.text[this.#at];
    if (char === "{") return this.#object();
    if (char === "[") return this.#array();
    if (char === '"') return this.#string();
    for (const [word, value] of [
      ["true", true],
      ["false", false],
      ["null", null],
    ] as const) {
      if (this.text.startsWith(word, this.#at)) {
        this.#at += word.length;
        return value;
      }
    }
    return this.#number();
  }

  #number(): unknown {
    NUMBER.lastIndex = this.#at;
    const match = NUMBER.exec(this.text);
    if (!match) throw this.#unexpected();
    this.#at = NUMBER.lastIndex;
    const [digits] = match;
    if (!FLOAT.test(digits)) return readInteger(digits);
    const number = Number(digits);
    if (!Number.isFinite(number)) throw new SerializationError("a JSON number is too large for a float");
    return this.exact && Number.isSafeInteger(number) && !Object.is(number, -0) ? new Float(number) : number;
  }

  #string(): string {
    STRING.lastIndex = this.#at;
    const match = STRING.exec(this.text);
    if (!match) throw this.#unexpected();
    this.#at = STRING.lastIndex;
    let text: string;
    try {
      text = JSON.parse(match[0]) as string;
    } catch (error) {
      throw new SerializationError(`a JSON text cannot be read: ${(error as Error).message}`);
    }
    if (!text.isWellFormed()) throw new SerializationError("a JSON text has half of a surrogate pair");
    return text;
  }

  #array(): unknown[] {
    const items: unknown[] = [];
    this.#at++;
    if (this.#take("]")) return items;
    do items.push(this.#value());
    while (this.#take(","));
    if (!this.#take("]")) throw this.#unexpected();
    return items;
  }

  #object(): unknown {
    const entries = new Map<string, unknown>();
    this.#at++;
    if (this.#take("}")) return {};
    do {
      this.#space();
      const key = this.#string();
      if (!this.#take(":")) throw this.#unexpected();
      entries.set(key, this.#value());
    } while (this.#take(","));
    if (!this.#take("}")) throw this.#unexpected();
    return dictOf([...entries], this.exact);
  }

  #take(char: string): boolean {
    this.#space();
    if (this.text[this.#at] !== char) return false;
    this.#at++;
    return true;
  }

  #space(): void {
    SPACE.lastIndex = this.#at;
    SPACE.exec(this.text);
    this.#at = SPACE.lastIndex;
  }

  #unexpected(): SerializationError {
    return new SerializationError(`a JSON text cannot be read: unexpected character at position ${this.#at}`);
  }
}
