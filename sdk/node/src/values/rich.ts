/**
 * RichValue: values that JSON cannot hold exactly, and containers of them.
 *
 * A protobuf message may be nested 100 levels deep, and each level of a RichValue takes two. So every few levels the
 * value continues in `any`, whose content is parsed separately.
 */
import { SerializationError } from "../errors.js";
import { exactInteger, FIXED64, LENGTH, Reader, VARINT, type Writer } from "../wire.js";
import { DateTime, PlainDate, PlainTime, TimeDelta } from "./datetimes.js";
import { dictOf, readInteger, tooDeep } from "./json.js";
import { Complex, Decimal, Float, FrozenSet, Tensor, Tuple, UUID } from "./types.js";

/** Levels in one message: at two messages per level, well below protobuf's 100. */
const LEVELS = 32;
export const RICH_URL = "type.googleapis.com/dspex.bridge.RichValue";
export const TENSOR_URL = "type.googleapis.com/dspex.bridge.Tensor";

const INT64_MIN = -(2n ** 63n);
const INT64_MAX = 2n ** 63n - 1n;

function field(number: number, wireType: number): number {
  return number * 8 + wireType;
}

const TAG = {
  null: field(1, VARINT),
  boolean: field(2, VARINT),
  integer: field(3, VARINT),
  bigInteger: field(4, LENGTH),
  number: field(5, FIXED64),
  text: field(6, LENGTH),
  binary: field(7, LENGTH),
  list: field(8, LENGTH),
  tuple: field(9, LENGTH),
  set: field(10, LENGTH),
  frozenset: field(11, LENGTH),
  dict: field(12, LENGTH),
  datetime: field(13, LENGTH),
  date: field(14, LENGTH),
  time: field(15, LENGTH),
  timedelta: field(16, LENGTH),
  uuid: field(17, LENGTH),
  decimal: field(18, LENGTH),
  complex: field(19, LENGTH),
  tensor: field(20, LENGTH),
  any: field(21, LENGTH),
} as const;

/** Writes a value that a RichValue has no field for, as the two fields of an Any. */
export type WriteOther = (writer: Writer, value: object) => void;
/** Reads the message of another type with at most the given number of levels. */
export type ReadOther = (typeUrl: string, value: Reader, depth: number) => unknown;

/** Writes plain data, as `toPlain` returns it, as a RichValue. */
export function writeRich(writer: Writer, value: unknown, other: WriteOther, level = 0): void {
  switch (typeof value) {
    case "string":
      writer.string(TAG.text, value);
      return;
    case "boolean":
      writer.varint(TAG.boolean);
      writer.byte(value ? 1 : 0);
      return;
    case "bigint":
      writeInteger(writer, value);
      return;
    case "number":
      if (Number.isSafeInteger(value) && !Object.is(value, -0)) writeInteger(writer, BigInt(value));
      else writeDouble(writer, value);
      return;
    default:
      break;
  }
  if (value === null || value === undefined) {
    writer.byte(TAG.null);
    writer.byte(1);
    return;
  }
  if (!writeContainer(writer, value, other, level) && !writeLeaf(writer, value)) {
    const mark = writer.begin(TAG.any);
    other(writer, value);
    writer.end(mark);
  }
}

function writeInteger(writer: Writer, value: bigint): void {
  if (value < INT64_MIN || value > INT64_MAX) {
    writer.string(TAG.bigInteger, value.toString());
    return;
  }
  writer.byte(TAG.integer);
  // Zigzag, as a sint64 is written.
  const zigzag = value < 0n ? -value * 2n - 1n : value * 2n;
  writer.int64(BigInt.asIntN(64, zigzag));
}

function writeDouble(writer: Writer, value: number): void {
  writer.byte(TAG.number);
  writer.double(value);
}

function containerTag(value: object): number | undefined {
  if (value instanceof Tuple) return TAG.tuple;
  if (Array.isArray(value)) return TAG.list;
  if (value instanceof FrozenSet) return TAG.frozenset;
  if (value instanceof Set) return TAG.set;
  if (value instanceof Map) return TAG.dict;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null ? TAG.dict : undefined;
}

function writeContainer(writer: Writer, value: object, other: WriteOther, level: number): boolean {
  const tag = containerTag(value);
  if (tag === undefined) return false;
  if (level > 0 && level % LEVELS === 0) {
    const mark = writer.begin(TAG.any);
    writer.string(0x0a, RICH_URL);
    const inner = writer.begin(0x12);
    writeItems(writer, tag, value, other, level);
    writer.end(inner);
    writer.end(mark);
  } else {
    writeItems(writer, tag, value, other, level);
  }
  return true;
}

function writeItems(writer: Writer, tag: number, value: object, other: WriteOther, level: number): void {
  const mark = writer.begin(tag);
  const write = (tagOfItem: number, item: unknown) => {
    const start = writer.begin(tagOfItem);
    writeRich(writer, item, other, level + 1);
    writer.end(start);
  };
  if (tag === TAG.dict) {
    const entries = value instanceof Map ? [...value] : Object.entries(value).filter(([, item]) => item !== undefined);
    for (const [key] of entries) write(0x0a, key);
    for (const [, item] of entries) write(0x12, item);
  } else {
    for (const item of value as Iterable<unknown>) write(0x0a, item);
  }
  writer.end(mark);
}

function writeLeaf(writer: Writer, value: object): boolean {
  if (value instanceof Float) writeDouble(writer, value.value);
  else if (value instanceof Uint8Array) writer.bytes(TAG.binary, value);
  else if (value instanceof DateTime) writeMoment(writer, TAG.datetime, value);
  else if (value instanceof PlainDate) writer.string(TAG.date, value.iso);
  else if (value instanceof PlainTime) writeMoment(writer, TAG.time, value);
  else if (value instanceof TimeDelta) writeDelta(writer, value);
  else if (value instanceof UUID) writer.string(TAG.uuid, value.text);
  else if (value instanceof Decimal) writer.string(TAG.decimal, value.text);
  else if (value instanceof Complex) writeComplex(writer, value);
  else if (value instanceof Tensor && !value.scalar) {
    const mark = writer.begin(TAG.tensor);
    writeTensor(writer, value);
    writer.end(mark);
  } else return false;
  return true;
}

function writeMoment(writer: Writer, tag: number, { iso, zone, fold, offsetName }: DateTime | PlainTime): void {
  const mark = writer.begin(tag);
  writer.string(0x0a, iso);
  if (zone) writer.string(0x12, zone);
  if (fold) {
    writer.byte(0x18);
    writer.byte(1);
  }
  if (offsetName) writer.string(0x22, offsetName);
  writer.end(mark);
}

function writeDelta(writer: Writer, { days, seconds, microseconds }: TimeDelta): void {
  const mark = writer.begin(TAG.timedelta);
  for (const [tag, part] of [
    [0x08, days < 0 ? -days * 2 - 1 : days * 2],
    [0x10, seconds],
    [0x18, microseconds],
  ] as const) {
    if (part === 0) continue;
    writer.byte(tag);
    writer.varint(part);
  }
  writer.end(mark);
}

function writeComplex(writer: Writer, { real, imag }: Complex): void {
  const mark = writer.begin(TAG.complex);
  for (const [tag, part] of [
    [0x09, real],
    [0x11, imag],
  ] as const) {
    if (Object.is(part, 0)) continue;
    writer.byte(tag);
    writer.double(part);
  }
  writer.end(mark);
}

/** Writes the fields of a Tensor. */
export function writeTensor(writer: Writer, { dtype, shape, data }: Tensor): void {
  writer.string(0x0a, dtype);
  if (shape.length > 0) {
    const mark = writer.begin(0x12);
    for (const size of shape) writer.varint(size);
    writer.end(mark);
  }
  if (data.length > 0) writer.bytes(0x1a, data);
}

// ------------------------------------------------------------------------------------------------------- reading

/** Reads RichValues. */
export class RichReader {
  /**
   * @param readOther - Reads what has no field.
   * @param exact - As for `readJson`.
   */
  constructor(
    private readonly readOther: ReadOther,
    private readonly exact: boolean,
  ) {}

  /** Reads one value with at most the given number of levels of containers. */
  read(reader: Reader, depth: number): unknown {
    let value: unknown;
    let found = false;
    while (reader.more) {
      const tag = reader.tag();
      const read = this.#field(reader, tag, depth);
      if (read === undefined) reader.skip(tag);
      else {
        value = read.value;
        found = true;
      }
    }
    if (!found) throw new SerializationError("a RichValue has no kind set; null is null = true");
    return value;
  }

  #field(reader: Reader, tag: number, depth: number): { value: unknown } | undefined {
    switch (tag) {
      case TAG.null:
        reader.varint();
        return { value: null };
      case TAG.boolean:
        return { value: reader.varint() !== 0 };
      case TAG.integer:
        return { value: zigzagged(reader.uint64()) };
      case TAG.bigInteger:
        return { value: readInteger(reader.string()) };
      case TAG.number:
        return { value: floatOf(reader.double(), this.exact) };
      case TAG.text:
        return { value: reader.string() };
      case TAG.binary:
        return { value: new Uint8Array(reader.bytes()) };
      case TAG.date:
        return { value: new PlainDate(reader.string()) };
      case TAG.uuid:
        return { value: new UUID(reader.string()) };
      case TAG.decimal:
        return { value: new Decimal(reader.string()) };
      default:
        return this.#message(reader, tag, depth);
    }
  }

  #message(reader: Reader, tag: number, depth: number): { value: unknown } | undefined {
    switch (tag) {
      case TAG.list:
        return { value: this.#items(reader.message(), depth) };
      case TAG.tuple:
        return { value: Tuple.from(this.#items(reader.message(), depth)) };
      case TAG.set:
        return { value: this.#distinct(new Set(), reader.message(), depth) };
      case TAG.frozenset:
        return { value: this.#distinct(new FrozenSet(), reader.message(), depth) };
      case TAG.dict:
        return { value: this.#dict(reader.message(), depth) };
      case TAG.datetime: {
        const { iso, ...zone } = readMoment(reader.message());
        return { value: new DateTime(iso, zone) };
      }
      case TAG.time: {
        const { iso, ...zone } = readMoment(reader.message());
        return { value: new PlainTime(iso, zone) };
      }
      case TAG.timedelta:
        return { value: readDelta(reader.message()) };
      case TAG.complex:
        return { value: readComplex(reader.message()) };
      case TAG.tensor:
        return { value: readTensor(reader.message(), { scalar: false }) };
      case TAG.any:
        return { value: this.#any(reader.message(), depth) };
      default:
        return undefined;
    }
  }

  #items(reader: Reader, depth: number): unknown[] {
    if (depth < 1) throw tooDeep();
    const items: unknown[] = [];
    while (reader.more) {
      const tag = reader.tag();
      if (tag === 0x0a) items.push(this.read(reader.message(), depth - 1));
      else reader.skip(tag);
    }
    return items;
  }

  #distinct(target: Set<unknown>, reader: Reader, depth: number): Set<unknown> {
    const items = this.#items(reader, depth);
    for (const item of items) target.add(item);
    if (target.size !== items.length) throw new SerializationError("a set came with a duplicate member");
    return target;
  }

  #dict(reader: Reader, depth: number): unknown {
    if (depth < 1) throw tooDeep();
    const keys: unknown[] = [];
    const values: unknown[] = [];
    while (reader.more) {
      const tag = reader.tag();
      if (tag === 0x0a) keys.push(this.read(reader.message(), depth - 1));
      else if (tag === 0x12) values.push(this.read(reader.message(), depth - 1));
      else reader.skip(tag);
    }
    if (keys.length !== values.length) {
      throw new SerializationError(`a dict came with ${keys.length} keys and ${values.length} values`);
    }
    const map = new Map(keys.map((key, index) => [key, values[index]]));
    if (map.size !== keys.length) throw new SerializationError("a dict came with a duplicate key");
    return keys.every((key) => typeof key === "string") ? dictOf([...map] as [string, unknown][], this.exact) : map;
  }

  #any(reader: Reader, depth: number): unknown {
    const { typeUrl, value } = readAnyFields(reader);
    if (nameOf(typeUrl) !== nameOf(RICH_URL)) return this.readOther(typeUrl, value, depth);
    // Otherwise an endless chain of them could be nested without counting levels.
    const start = value.at;
    if (value.more && value.tag() === TAG.any) {
      throw new SerializationError("a RichValue in an Any holds nothing but another Any; send the value itself");
    }
    value.at = start;
    return this.read(value, depth);
  }
}

/** The name in a type URL: what follows its last slash. */
export function nameOf(typeUrl: string): string {
  return typeUrl.slice(typeUrl.lastIndexOf("/") + 1);
}

/** Reads the two fields of an Any. */
export function readAnyFields(reader: Reader): { typeUrl: string; value: Reader } {
  let typeUrl = "";
  let value: Reader | undefined;
  while (reader.more) {
    const tag = reader.tag();
    if (tag === 0x0a) typeUrl = reader.string();
    else if (tag === 0x12) value = reader.message();
    else reader.skip(tag);
  }
  return { typeUrl, value: value ?? new Reader(NO_BYTES) };
}

const NO_BYTES = new Uint8Array(0);

/** What a float of Python is: a number, or with `exact` a Float if an integer would look the same. */
export function floatOf(value: number, exact: boolean): number | Float {
  return exact && Number.isSafeInteger(value) && !Object.is(value, -0) ? new Float(value) : value;
}

function zigzagged(value: bigint): number | bigint {
  return exactInteger(value % 2n === 0n ? value / 2n : -(value + 1n) / 2n);
}

function readMoment(reader: Reader): { iso: string; zone: string; fold: boolean; offsetName: string } {
  const moment = { iso: "", zone: "", fold: false, offsetName: "" };
  while (reader.more) {
    const tag = reader.tag();
    if (tag === 0x0a) moment.iso = reader.string();
    else if (tag === 0x12) moment.zone = reader.string();
    else if (tag === 0x18) moment.fold = reader.varint() !== 0;
    else if (tag === 0x22) moment.offsetName = reader.string();
    else reader.skip(tag);
  }
  return moment;
}

function readDelta(reader: Reader): TimeDelta {
  const parts = { days: 0, seconds: 0, microseconds: 0 };
  while (reader.more) {
    const tag = reader.tag();
    if (tag === 0x08) parts.days = Number(zigzagged(reader.uint64()));
    else if (tag === 0x10) parts.seconds = Number(BigInt.asIntN(32, reader.uint64()));
    else if (tag === 0x18) parts.microseconds = Number(BigInt.asIntN(32, reader.uint64()));
    else reader.skip(tag);
  }
  return new TimeDelta(parts);
}

function readComplex(reader: Reader): Complex {
  let real = 0;
  let imag = 0;
  while (reader.more) {
    const tag = reader.tag();
    if (tag === 0x09) real = reader.double();
    else if (tag === 0x11) imag = reader.double();
    else reader.skip(tag);
  }
  return new Complex(real, imag);
}

/** Reads a Tensor; without dimensions it is a `scalar` of numpy, or an array. */
export function readTensor(reader: Reader, { scalar }: { scalar: boolean }): Tensor {
  let dtype = "";
  const shape: number[] = [];
  let content: Uint8Array = NO_BYTES;
  while (reader.more) {
    const tag = reader.tag();
    if (tag === 0x0a) dtype = reader.string();
    else if (tag === 0x10) shape.push(Number(reader.int64()));
    else if (tag === 0x12) {
      const packed = reader.message();
      while (packed.more) shape.push(Number(packed.int64()));
    } else if (tag === 0x1a) content = reader.bytes();
    else reader.skip(tag);
  }
  return new Tensor(dtype, shape, new Uint8Array(content), scalar && shape.length === 0);
}
