/** What a value of JavaScript is to the bridge: which of its objects are containers, and what the others become. */
import { SerializationError } from "../errors.js";
import { describe } from "../texts.js";
import { DateTime, PlainDate, PlainTime, TimeDelta } from "./datetimes.js";
import { tooDeep } from "./json.js";
import { ArrowTable, Complex, Decimal, Float, FrozenSet, Tensor, type TensorArray, Tuple, UUID } from "./types.js";

/** How a value can be written. */
export enum Form {
  /** `JSON.stringify` writes it exactly. */
  Plain = 0,
  /** JSON can hold it, but `JSON.stringify` would change it. */
  Json = 1,
  /** It needs a RichValue. */
  Rich = 2,
}

/** A value without objects that mean something else, such as those with `toJSON`, and how it can be written. */
export interface Plain {
  value: unknown;
  form: Form;
}

/** Classes that a RichValue has a field for. */
const LEAVES = [ArrowTable, Complex, DateTime, Decimal, PlainDate, PlainTime, Tensor, TimeDelta, UUID, Uint8Array];

/** What is no value, with what to send instead. */
const ADVICE: readonly (readonly [new (...args: never[]) => unknown, string])[] = [
  [Promise, "await it, and send the result"],
  [RegExp, "send its source"],
  [WeakMap, "send what it holds"],
  [WeakSet, "send what it holds"],
  [Error, "throw it, or send its message"],
];

/**
 * Finds out how a value can be written.
 *
 * @param hasCodec - Whether a class is registered with `registerCodec`.
 * @throws SerializationError if something in it cannot be sent.
 */
export function toPlain(value: unknown, depth: number, hasCodec: (kind: unknown) => boolean): Plain {
  const walk = new Walk(hasCodec);
  return { value: walk.visit(value, depth), form: walk.form };
}

class Walk {
  form = Form.Plain;

  constructor(private readonly hasCodec: (kind: unknown) => boolean) {}

  /** Returns the value, or a copy of it if something in it becomes something else. */
  visit(value: unknown, depth: number): unknown {
    switch (typeof value) {
      case "string":
        checkText(value);
        return value;
      case "number":
        this.#number(value);
        return value;
      case "bigint":
        this.#needs(Form.Json);
        return value;
      case "boolean":
        return value;
      case "undefined":
        return null;
      case "object":
        return value === null ? null : this.#object(value, depth);
      default:
        throw new SerializationError(`${describe(value)} cannot be sent; send plain data`);
    }
  }

  #needs(form: Form): void {
    if (form > this.form) this.form = form;
  }

  #number(value: number): void {
    if (!Number.isFinite(value)) this.#needs(Form.Rich);
    else if (Object.is(value, -0) || (Number.isInteger(value) && !Number.isSafeInteger(value))) this.#needs(Form.Json);
  }

  #object(value: object, depth: number): unknown {
    const kind: unknown = value.constructor;
    if (kind === Array) return this.#array(value as unknown[], depth);
    const prototype: unknown = Object.getPrototypeOf(value);
    if (prototype === Object.prototype || prototype === null) {
      if (typeof (value as { toJSON?: unknown }).toJSON === "function") return this.#fromJson(value, depth);
      return this.#record(value as Record<string, unknown>, depth);
    }
    return this.#instance(value, depth);
  }

  #array(items: unknown[], depth: number): unknown[] {
    if (depth < 1) throw tooDeep();
    let copy: unknown[] | undefined;
    for (let index = 0; index < items.length; index++) {
      const item = items[index];
      const visited = this.visit(item, depth - 1);
      if (visited !== item && !Object.is(visited, item)) {
        copy ??= items.slice();
        copy[index] = visited;
      }
    }
    return copy ?? items;
  }

  #record(record: Record<string, unknown>, depth: number): Record<string, unknown> {
    if (depth < 1) throw tooDeep();
    let copy: Record<string, unknown> | undefined;
    for (const key of Object.keys(record)) {
      checkText(key);
      const item = record[key];
      if (item === undefined) continue;
      const visited = this.visit(item, depth - 1);
      if (visited !== item && !Object.is(visited, item)) {
        copy ??= { ...record };
        copy[key] = visited;
      }
    }
    return copy ?? record;
  }

  #instance(value: object, depth: number): unknown {
    if (this.hasCodec(value.constructor) || LEAVES.some((kind) => value instanceof kind)) {
      this.#needs(Form.Rich);
      return value instanceof Uint8Array && value.constructor !== Uint8Array ? new Uint8Array(value) : value;
    }
    if (value instanceof Float) {
      this.#needs(Number.isFinite(value.value) ? Form.Json : Form.Rich);
      return value;
    }
    if (value instanceof Tuple || value instanceof Set) return this.#sequence(value, depth);
    if (value instanceof Map) return this.#map(value, depth);
    if (Array.isArray(value)) return this.#array(Array.from(value as unknown[]), depth);
    const other = converted(value);
    if (other !== undefined) return this.#object(other as object, depth);
    for (const [kind, advice] of ADVICE) {
      if (value instanceof kind) throw new SerializationError(`${describe(value)} cannot be sent; ${advice}`);
    }
    if (Symbol.asyncIterator in value) {
      throw new SerializationError(`${describe(value)} cannot be sent; collect its items, or stream them from a tool`);
    }
    if (Symbol.iterator in value) return this.#array(Array.from(value as Iterable<unknown>), depth);
    if (typeof (value as { toJSON?: unknown }).toJSON === "function") return this.#fromJson(value, depth);
    return this.#record({ ...value }, depth);
  }

  #fromJson(value: object, depth: number): unknown {
    if (depth < 1) throw tooDeep();
    return this.visit((value as { toJSON(): unknown }).toJSON(), depth - 1);
  }

  #sequence(items: Tuple | Set<unknown>, depth: number): unknown {
    if (depth < 1) throw tooDeep();
    this.#needs(Form.Rich);
    const visited = Array.from(items, (item) => this.visit(item, depth - 1));
    if (items instanceof Tuple) return Tuple.from(visited);
    return items instanceof FrozenSet ? new FrozenSet(visited) : new Set(visited);
  }

  #map(map: Map<unknown, unknown>, depth: number): Map<unknown, unknown> {
    if (depth < 1) throw tooDeep();
    const copy = new Map<unknown, unknown>();
    for (const [key, item] of map) {
      this.#needs(typeof key === "string" ? Form.Json : Form.Rich);
      copy.set(this.visit(key, depth - 1), this.visit(item, depth - 1));
    }
    this.#needs(Form.Json);
    return copy;
  }
}

/** Objects of JavaScript that are another value to the bridge. */
function converted(value: object): unknown {
  if (value instanceof Date) return DateTime.from(value);
  if (value instanceof ArrayBuffer || value instanceof SharedArrayBuffer) return new Uint8Array(value).slice();
  if (value instanceof DataView) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength).slice();
  if (ArrayBuffer.isView(value)) return Tensor.of(value as TensorArray);
  return undefined;
}

/** Refuses a text that has no UTF-8 form. */
export function checkText(text: string): void {
  if (!text.isWellFormed()) {
    throw new SerializationError("a text with a lone surrogate has no UTF-8 form; clean it with toWellFormed()");
  }
}
