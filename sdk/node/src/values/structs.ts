/**
 * ListValue, Struct and Value: the form in which every language reads small containers.
 *
 * They hold few containers exactly: a number is a double and decodes to an integer if integral, and maps are unordered.
 * Containers that are not exact, or large, travel as Json or RichValue.
 */
import { SerializationError } from "../errors.js";
import { LENGTH, Reader, type Writer } from "../wire.js";
import { dictOf, tooDeep } from "./json.js";

/** Above this, Json is several times smaller, and faster at both ends. */
const MAX_ITEMS = 32;
const MAX_LEVELS = 16;

/** Writes an array as ListValue or an object as Struct; returns false if that would not restore it, or it is large. */
export function writeStruct(writer: Writer, value: readonly unknown[] | Record<string, unknown>): boolean {
  const left = { items: MAX_ITEMS };
  return Array.isArray(value)
    ? writeList(writer, value, 1, left)
    : writeDict(writer, value as Record<string, unknown>, 1, left);
}

function writeList(writer: Writer, items: readonly unknown[], level: number, left: { items: number }): boolean {
  left.items -= items.length;
  if (left.items < 0 || level > MAX_LEVELS) return false;
  for (let index = 0; index < items.length; index++) {
    const mark = writer.begin(0x0a);
    if (!writeValue(writer, items[index], level, left)) return false;
    writer.end(mark);
  }
  return true;
}

function writeDict(writer: Writer, value: Record<string, unknown>, level: number, left: { items: number }): boolean {
  const keys = Object.keys(value).filter((key) => value[key] !== undefined);
  // A protobuf map is unordered, so it can have only one key.
  if (keys.length > 1 || level > MAX_LEVELS) return false;
  left.items--;
  const [key] = keys;
  if (key === undefined) return true;
  const entry = writer.begin(0x0a);
  writer.string(0x0a, key);
  const content = writer.begin(0x12);
  if (!writeValue(writer, value[key], level, left)) return false;
  writer.end(content);
  writer.end(entry);
  return true;
}

function writeValue(writer: Writer, value: unknown, level: number, left: { items: number }): boolean {
  switch (typeof value) {
    case "string":
      writer.string(0x1a, value);
      return true;
    case "boolean":
      writer.byte(0x20);
      writer.byte(value ? 1 : 0);
      return true;
    case "number":
      if (Object.is(value, -0) || !Number.isFinite(value)) return false;
      // An integral number that is not safe is a float, which would decode to an integer.
      if (Number.isInteger(value) && !Number.isSafeInteger(value)) return false;
      writer.byte(0x11);
      writer.double(value);
      return true;
    case "undefined":
      writer.byte(0x08);
      writer.byte(0);
      return true;
    case "object":
      break;
    default:
      return false;
  }
  if (value === null) {
    writer.byte(0x08);
    writer.byte(0);
    return true;
  }
  const isList = Array.isArray(value);
  const mark = writer.begin(isList ? 0x32 : 0x2a);
  const written = isList
    ? writeList(writer, value, level + 1, left)
    : writeDict(writer, value as Record<string, unknown>, level + 1, left);
  writer.end(mark);
  return written;
}

/** Reads a google.protobuf.Value. */
export function readValue(reader: Reader, depth: number, exact: boolean): unknown {
  let value: unknown;
  let found = false;
  while (reader.more) {
    const tag = reader.tag();
    const before: boolean = found;
    found = true;
    switch (tag) {
      case 0x08:
        reader.varint();
        value = null;
        break;
      case 0x11:
        value = reader.double();
        // -0 is integral, too, and an integer has no sign of zero.
        if (value === 0) value = 0;
        break;
      case 0x1a:
        value = reader.string();
        break;
      case 0x20:
        value = reader.varint() !== 0;
        break;
      case 0x2a:
        value = readStruct(reader.message(), depth, exact);
        break;
      case 0x32:
        value = readList(reader.message(), depth, exact);
        break;
      default:
        reader.skip(tag);
        found = before;
    }
  }
  if (!found) throw new SerializationError("a google.protobuf.Value has no kind set; null is null_value");
  return typeof value === "number" ? integral(value) : value;
}

/** An integral number in a Value is an integer, also where a number of JavaScript would be a float. */
function integral(value: number): number | bigint {
  return Number.isInteger(value) && !Number.isSafeInteger(value) ? BigInt(value) : value;
}

/** Reads a google.protobuf.ListValue. */
export function readList(reader: Reader, depth: number, exact: boolean): unknown[] {
  if (depth < 1) throw tooDeep();
  const items: unknown[] = [];
  while (reader.more) {
    const tag = reader.tag();
    if (tag === 0x0a) items.push(readValue(reader.message(), depth - 1, exact));
    else reader.skip(tag);
  }
  return items;
}

/** Reads a google.protobuf.Struct. */
export function readStruct(reader: Reader, depth: number, exact: boolean): unknown {
  if (depth < 1) throw tooDeep();
  const entries = new Map<string, unknown>();
  while (reader.more) {
    const tag = reader.tag();
    if (tag === 0x0a) readField(reader.message(), entries, depth, exact);
    else reader.skip(tag);
  }
  return dictOf([...entries], exact);
}

const EMPTY = new Uint8Array(0);

function readField(reader: Reader, entries: Map<string, unknown>, depth: number, exact: boolean): void {
  let key = "";
  let content: Reader | undefined;
  while (reader.more) {
    const tag = reader.tag();
    if (tag === (8 | LENGTH)) key = reader.string();
    else if (tag === (16 | LENGTH)) content = reader.message();
    else reader.skip(tag);
  }
  entries.set(key, readValue(content ?? new Reader(EMPTY), depth - 1, exact));
}
