/**
 * Converts values to google.protobuf.Any and back, without loss.
 *
 * Scalars travel in the wrapper types of google.protobuf. Containers use the first form that restores them unchanged:
 * ListValue or Struct if small, Json, RichValue. Everything that has no form is refused.
 */
import { create } from "@bufbuild/protobuf";
import { type Any, AnySchema } from "@bufbuild/protobuf/wkt";
import { AlreadyExistsError, SerializationError, ToolBridgeError, ValidationError } from "../errors.js";
import { Reader, WireError, Writer } from "../wire.js";
import { MAX_DEPTH, readJson, writeJson } from "./json.js";
import { checkText, Form, toPlain } from "./plain.js";
import { floatOf, nameOf, RichReader, readTensor, writeRich, writeTensor } from "./rich.js";
import { readList, readStruct, readValue, writeStruct } from "./structs.js";
import { ArrowTable, Float, TABLE_KINDS, type TableKind, Tensor } from "./types.js";

const PREFIX = "type.googleapis.com/";
const UNKNOWN = "python.";
const RESERVED = ["google.protobuf.", "dspex.bridge.", "pandas.", "pyarrow.", "polars.", UNKNOWN];

const INT64_MIN = -(2n ** 63n);
const INT64_MAX = 2n ** 63n - 1n;

const TYPE_URL_TAG = 0x0a;
const VALUE_TAG = 0x12;

/** The field `type_url` of an Any, ready to be written. */
function urlField(name: string): Uint8Array {
  const writer = new Writer();
  writer.string(TYPE_URL_TAG, PREFIX + name);
  return writer.finish();
}

const STRING = urlField("google.protobuf.StringValue");
const INT = urlField("google.protobuf.Int64Value");
const DOUBLE = urlField("google.protobuf.DoubleValue");
const BOOL = urlField("google.protobuf.BoolValue");
const BYTES = urlField("google.protobuf.BytesValue");
const NULL = urlField("google.protobuf.Value");
const LIST = urlField("google.protobuf.ListValue");
const STRUCT = urlField("google.protobuf.Struct");
const JSON_FIELD = urlField("dspex.bridge.Json");
const RICH = urlField("dspex.bridge.RichValue");
const TENSOR = urlField("dspex.bridge.Tensor");

/** How instances of a class travel. */
export interface Codec<T> {
  /** A name such as "acme.Money"; peers that decode the value register the same name. */
  typeUrl: string;
  encode(value: T): Uint8Array;
  /** Converts bytes, possibly from an untrusted peer; whatever it throws becomes a SerializationError. */
  decode(data: Uint8Array): T;
}

const codecsByClass = new Map<unknown, Codec<never>>();
const codecsByName = new Map<string, Codec<never>>();

/**
 * Registers how instances of a class travel, at top level and inside containers; not those of its subclasses.
 *
 * @throws AlreadyExistsError if the class or the name is taken; ValidationError if the name cannot be used.
 */
export function registerCodec<T extends object>(kind: abstract new (...args: never[]) => T, codec: Codec<T>): void {
  const name = nameOf(codec.typeUrl);
  if (!/^[\w.]+$/.test(name) || RESERVED.some((prefix) => name.startsWith(prefix))) {
    throw new ValidationError(
      `${JSON.stringify(name)} cannot name a codec; use a name of your own, such as "acme.Money"`,
    );
  }
  if (codecsByClass.has(kind) || codecsByName.has(name)) {
    throw new AlreadyExistsError(`there is a codec for ${kind.name || "the class"} or "${name}" already`);
  }
  codecsByClass.set(kind, codec as Codec<never>);
  codecsByName.set(name, codec as Codec<never>);
}

/** How values are read. */
export interface ReadOptions {
  /**
   * Whether what is read can be sent back without any change: integral floats become `Float`, and dicts whose keys an
   * object would reorder become a `Map`. Default: false, where both are as in JavaScript.
   */
  exact?: boolean;
}

/**
 * Writes a value as an Any.
 *
 * @throws SerializationError if the value cannot be represented exactly.
 */
export function serializeValue(value: unknown): Any {
  const writer = new Writer();
  writeAny(writer, value);
  const [typeUrl, data] = splitAny(writer.finish());
  return create(AnySchema, { typeUrl, value: data });
}

/**
 * Reads a value from an Any.
 *
 * @throws SerializationError if the type URL is not known, or the bytes are not a value of its type.
 */
export function deserializeValue(any: Pick<Any, "typeUrl" | "value">, { exact = false }: ReadOptions = {}): unknown {
  return readTyped(any.typeUrl, any.value, exact);
}

// ------------------------------------------------------------------------------------------------------- writing

/** Writes the fields of an Any. */
export function writeAny(writer: Writer, value: unknown): void {
  switch (typeof value) {
    case "string":
      checkText(value);
      writeText(writer, STRING, value);
      return;
    case "number":
      writeNumber(writer, value);
      return;
    case "boolean":
      writer.raw(BOOL);
      if (value) writer.raw(TRUE);
      return;
    case "bigint":
      writeBigint(writer, value);
      return;
    case "undefined":
      writer.raw(NULL);
      writer.raw(NULL_VALUE);
      return;
    default:
      break;
  }
  if (value === null) {
    writer.raw(NULL);
    writer.raw(NULL_VALUE);
  } else if (value instanceof Uint8Array) {
    writeBytes(writer, BYTES, value);
  } else {
    writeObject(writer, value);
  }
}

/** The field `value` of an Any that holds true, or null. */
const TRUE = Uint8Array.of(VALUE_TAG, 2, 0x08, 1);
const NULL_VALUE = Uint8Array.of(VALUE_TAG, 2, 0x08, 0);

function writeNumber(writer: Writer, value: number): void {
  if (Number.isSafeInteger(value) && !Object.is(value, -0)) {
    writer.raw(INT);
    if (value !== 0) writeInt(writer, value);
  } else {
    writeFloat(writer, value);
  }
}

function writeFloat(writer: Writer, value: number): void {
  writer.raw(DOUBLE);
  if (Object.is(value, 0)) return;
  writer.byte(VALUE_TAG);
  writer.byte(9);
  writer.byte(0x09);
  writer.double(value);
}

function writeInt(writer: Writer, value: number | bigint): void {
  const mark = writer.begin(VALUE_TAG);
  writer.byte(0x08);
  writer.int64(value);
  writer.end(mark);
}

function writeBigint(writer: Writer, value: bigint): void {
  if (value < INT64_MIN || value > INT64_MAX) {
    writeText(writer, JSON_FIELD, value.toString());
    return;
  }
  writer.raw(INT);
  if (value !== 0n) writeInt(writer, value);
}

/** Writes an Any whose message has one field of text, its first. */
function writeText(writer: Writer, url: Uint8Array, text: string): void {
  writer.raw(url);
  if (text === "") return;
  const mark = writer.begin(VALUE_TAG);
  writer.string(0x0a, text);
  writer.end(mark);
}

function writeBytes(writer: Writer, url: Uint8Array, data: Uint8Array): void {
  writer.raw(url);
  if (data.length === 0) return;
  const mark = writer.begin(VALUE_TAG);
  writer.bytes(0x0a, data);
  writer.end(mark);
}

function writeObject(writer: Writer, given: unknown): void {
  const { value, form } = toPlain(given, MAX_DEPTH, (kind) => codecsByClass.has(kind));
  if (typeof value !== "object" || value === null) {
    // The value of a toJSON() that returned a text, for example.
    writeAny(writer, value);
    return;
  }
  if (value instanceof Float) {
    writeFloat(writer, value.value);
    return;
  }
  if (form === Form.Rich) {
    if (isOther(value)) writeOther(writer, value);
    else writeMessage(writer, RICH, (inner) => writeRich(inner, value, writeOther));
    return;
  }
  if (form === Form.Plain && writeSmall(writer, value)) return;
  writeText(writer, JSON_FIELD, form === Form.Plain ? JSON.stringify(value) : writeJson(value));
}

function writeSmall(writer: Writer, value: object): boolean {
  const isList = Array.isArray(value);
  const scratch = new Writer();
  if (!writeStruct(scratch, value as unknown[] | Record<string, unknown>)) return false;
  const data = scratch.finish();
  writer.raw(isList ? LIST : STRUCT);
  if (data.length > 0) writer.bytes(VALUE_TAG, data);
  return true;
}

/** Whether a value has a message of its own in an Any. */
function isOther(value: object): boolean {
  return (
    codecsByClass.has(value.constructor) ||
    value instanceof ArrowTable ||
    (value instanceof Tensor && (value.scalar || value.shape.length > 0))
  );
}

/** Writes what a RichValue has no field for. */
function writeOther(writer: Writer, value: object): void {
  const codec = codecsByClass.get(value.constructor);
  if (codec) {
    const { typeUrl } = codec;
    writer.string(TYPE_URL_TAG, typeUrl.includes("/") ? typeUrl : PREFIX + typeUrl);
    writer.bytes(VALUE_TAG, codec.encode(value as never));
  } else if (value instanceof Tensor) {
    writeMessage(writer, TENSOR, (inner) => writeTensor(inner, value));
  } else if (value instanceof ArrowTable) {
    writer.string(TYPE_URL_TAG, PREFIX + value.kind);
    const mark = writer.begin(VALUE_TAG);
    writer.bytes(0x0a, value.ipc);
    writer.end(mark);
  } else {
    throw new SerializationError(
      `a ${value.constructor.name} has no exact form; send plain data, or use registerCodec`,
    );
  }
}

function writeMessage(writer: Writer, url: Uint8Array, write: (writer: Writer) => void): void {
  writer.raw(url);
  const mark = writer.begin(VALUE_TAG);
  write(writer);
  writer.end(mark);
}

// ------------------------------------------------------------------------------------------------------- reading

/** Reads the value in an Any that was not parsed. */
export function readAny(data: Uint8Array, exact: boolean): unknown {
  let fields: [string, Uint8Array];
  try {
    fields = splitAny(data);
  } catch (error) {
    throw new SerializationError(`an Any cannot be read: ${(error as Error).message}`);
  }
  return readTyped(...fields, exact);
}

function splitAny(data: Uint8Array): [string, Uint8Array] {
  const reader = new Reader(data);
  let typeUrl = "";
  let value: Uint8Array = NO_BYTES;
  while (reader.more) {
    const tag = reader.tag();
    if (tag === TYPE_URL_TAG) typeUrl = reader.string();
    else if (tag === VALUE_TAG) value = reader.bytes();
    else reader.skip(tag);
  }
  return [typeUrl, value];
}

const NO_BYTES = new Uint8Array(0);

function readTyped(typeUrl: string, data: Uint8Array, exact: boolean, depth = MAX_DEPTH): unknown {
  try {
    return readNamed(typeUrl, data, exact, depth);
  } catch (error) {
    if (error instanceof ToolBridgeError) throw error;
    const text = error instanceof WireError || error instanceof Error ? error.message : String(error);
    throw new SerializationError(`the bytes under ${shown(typeUrl)} are not a value of that type: ${text}`);
  }
}

function readNamed(typeUrl: string, data: Uint8Array, exact: boolean, depth: number): unknown {
  const name = nameOf(typeUrl);
  switch (name) {
    case "google.protobuf.StringValue":
      return readText(data);
    case "google.protobuf.Int64Value":
      return readField(data, 0x08, (reader) => reader.int64(), 0);
    case "google.protobuf.DoubleValue":
      return floatOf(
        readField(data, 0x09, (reader) => reader.double(), 0),
        exact,
      );
    case "google.protobuf.BoolValue":
      return readField(data, 0x08, (reader) => reader.varint() !== 0, false);
    case "google.protobuf.BytesValue":
      return readBytes(data);
    case "google.protobuf.Value":
      return readValue(data, depth, exact);
    case "google.protobuf.ListValue":
      return readList(data, depth, exact);
    case "google.protobuf.Struct":
      return readStruct(data, depth, exact);
    case "dspex.bridge.Json":
      return readJsonMessage(data, exact);
    case "dspex.bridge.RichValue":
      return new RichReader((url, content, left) => readTyped(url, content, exact, left), exact).read(data, depth);
    case "dspex.bridge.Tensor":
      return readTensor(data, { scalar: true });
    default:
      return readOther(typeUrl, name, data, exact);
  }
}

function readOther(typeUrl: string, name: string, data: Uint8Array, exact: boolean): unknown {
  switch (name) {
    case "google.protobuf.Int32Value":
      return readField(data, 0x08, (reader) => Number(BigInt.asIntN(32, reader.uint64())), 0);
    case "google.protobuf.UInt32Value":
      return readField(data, 0x08, (reader) => Number(BigInt.asUintN(32, reader.uint64())), 0);
    case "google.protobuf.UInt64Value":
      return readField(data, 0x08, (reader) => readUint64(reader), 0);
    case "google.protobuf.FloatValue":
      return floatOf(
        readField(data, 0x0d, (reader) => reader.float(), 0),
        exact,
      );
    case "google.protobuf.Empty":
      readField(data, 0, () => null, null);
      return null;
    default:
      break;
  }
  const codec = codecsByName.get(name);
  if (codec) return codec.decode(new Uint8Array(data));
  if (TABLE_KINDS.includes(name)) return new ArrowTable(name as TableKind, readBytes(data));
  if (name.startsWith(UNKNOWN) && name.length > UNKNOWN.length) return readText(data);
  throw new SerializationError(
    typeUrl === ""
      ? "the Any has no type URL, so it holds no value; null is a google.protobuf.Value"
      : `the type URL ${shown(typeUrl)} is not known; use registerCodec to decode it`,
  );
}

function readField<T>(data: Uint8Array, wanted: number, read: (reader: Reader) => T, missing: T): T {
  const reader = new Reader(data);
  let value = missing;
  while (reader.more) {
    const tag = reader.tag();
    if (tag === wanted) value = read(reader);
    else reader.skip(tag);
  }
  return value;
}

function readText(data: Uint8Array): string {
  return readField(data, 0x0a, (reader) => reader.string(), "");
}

function readBytes(data: Uint8Array): Uint8Array {
  return new Uint8Array(readField<Uint8Array>(data, 0x0a, (reader) => reader.bytes(), NO_BYTES));
}

function readUint64(reader: Reader): number | bigint {
  const value = reader.uint64();
  return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value;
}

function readJsonMessage(data: Uint8Array, exact: boolean): unknown {
  const text = readField(data, 0x0a, (reader) => reader.string(), "");
  return readJson(text, exact);
}

function shown(typeUrl: string): string {
  return JSON.stringify(typeUrl.slice(0, 200));
}
