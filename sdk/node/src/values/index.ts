/**
 * Converts values to google.protobuf.Any and back, without loss.
 *
 * Scalars travel in the wrapper types of google.protobuf. Containers use the first form that restores them unchanged:
 * ListValue or Struct if small, Json, RichValue. Everything that has no form is refused.
 */
import { create } from "@bufbuild/protobuf";
import { type Any, AnySchema } from "@bufbuild/protobuf/wkt";
import { AlreadyExistsError, SerializationError, ToolBridgeError, ValidationError } from "../errors.js";
import { exactInteger, Reader, type Writer, written } from "../wire.js";
import { MAX_DEPTH, readJson, writeJson } from "./json.js";
import { checkText, Form, toPlain } from "./plain.js";
import { floatOf, nameOf, RichReader, readAnyFields, readTensor, writeRich, writeTensor } from "./rich.js";
import { readList, readStruct, readValue, writeStruct } from "./structs.js";
import { ArrowTable, Float, TABLE_KINDS, type TableKind, Tensor } from "./types.js";

const PREFIX = "type.googleapis.com/";
const UNKNOWN = "python.";
const RESERVED = ["google.protobuf.", "dspex.bridge.", "pandas.", "pyarrow.", "polars.", UNKNOWN];

const INT64_MIN = -(2n ** 63n);
const INT64_MAX = 2n ** 63n - 1n;

/** Of a field of bytes: its tag and its length. */
const HEADER_BYTES = 5;
const TYPE_URL_TAG = 0x0a;
const VALUE_TAG = 0x12;

/** The field `type_url` of an Any, ready to be written. */
function urlField(name: string): Uint8Array {
  return written((writer) => writer.string(TYPE_URL_TAG, PREFIX + name));
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
  const message = written((writer) => writeAny(writer, value));
  const { typeUrl, value: data } = readAnyFields(new Reader(message));
  return create(AnySchema, { typeUrl, value: data.restBytes() });
}

/**
 * Reads a value from an Any.
 *
 * @throws SerializationError if the type URL is not known, or the bytes are not a value of its type.
 */
export function deserializeValue(any: Pick<Any, "typeUrl" | "value">, { exact = false }: ReadOptions = {}): unknown {
  return readTyped(any.typeUrl, new Reader(any.value), exact);
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
  const mark = writer.begin(VALUE_TAG, data.length + HEADER_BYTES);
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
  let isExact = false;
  const data = written((scratch) => {
    isExact = writeStruct(scratch, value as unknown[] | Record<string, unknown>);
  });
  if (!isExact) return false;
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

/** Reads the message of one type. */
type ReadMessage = (reader: Reader, exact: boolean, depth: number) => unknown;

/** Reads the value of an Any. */
export function readAny(reader: Reader, exact: boolean): unknown {
  let url: Reader | undefined;
  let value: Reader | undefined;
  let typeUrl: string | undefined;
  try {
    while (reader.more) {
      const tag = reader.tag();
      if (tag === TYPE_URL_TAG) url = reader.message();
      else if (tag === VALUE_TAG) value = reader.message();
      else reader.skip(tag);
    }
    const known = url && knownReader(url);
    if (known) return known(value ?? new Reader(NO_BYTES), exact, MAX_DEPTH);
    typeUrl = url?.rest() ?? "";
  } catch (error) {
    throw notValue(url?.rest() ?? "", error);
  }
  return readTyped(typeUrl, value ?? new Reader(NO_BYTES), exact);
}

const NO_BYTES = new Uint8Array(0);

const READERS: ReadonlyMap<string, ReadMessage> = new Map<string, ReadMessage>([
  ["google.protobuf.StringValue", readText],
  ["google.protobuf.Int64Value", (reader) => readField(reader, 0x08, (field) => field.int64(), 0)],
  [
    "google.protobuf.DoubleValue",
    (reader, exact) =>
      floatOf(
        readField(reader, 0x09, (field) => field.double(), 0),
        exact,
      ),
  ],
  ["google.protobuf.BoolValue", (reader) => readField(reader, 0x08, (field) => field.varint() !== 0, false)],
  ["google.protobuf.BytesValue", readBytes],
  ["google.protobuf.Value", (reader, exact, depth) => readValue(reader, depth, exact)],
  ["google.protobuf.ListValue", (reader, exact, depth) => readList(reader, depth, exact)],
  ["google.protobuf.Struct", (reader, exact, depth) => readStruct(reader, depth, exact)],
  ["dspex.bridge.Json", (reader, exact) => readJson(readText(reader), exact)],
  ["dspex.bridge.RichValue", (reader, exact, depth) => richReader(exact).read(reader, depth)],
  ["dspex.bridge.Tensor", (reader) => readTensor(reader, { scalar: true })],
  ["google.protobuf.Int32Value", (reader) => Number(BigInt.asIntN(32, readUint64(reader)))],
  ["google.protobuf.UInt32Value", (reader) => Number(BigInt.asUintN(32, readUint64(reader)))],
  ["google.protobuf.UInt64Value", (reader) => exactInteger(readUint64(reader))],
  [
    "google.protobuf.FloatValue",
    (reader, exact) =>
      floatOf(
        readField(reader, 0x0d, (field) => field.float(), 0),
        exact,
      ),
  ],
  ["google.protobuf.Empty", (reader) => readField(reader, 0, () => null, null)],
]);

/** By the length of their type URLs: comparing bytes takes less than making a text of them. */
const READERS_BY_LENGTH = new Map<number, (readonly [url: Buffer, read: ReadMessage])[]>();
for (const [name, read] of READERS) {
  const url = Buffer.from(PREFIX + name);
  READERS_BY_LENGTH.set(url.length, [...(READERS_BY_LENGTH.get(url.length) ?? []), [url, read]]);
}

function knownReader(url: Reader): ReadMessage | undefined {
  return READERS_BY_LENGTH.get(url.left)?.find(([known]) => url.equals(known))?.[1];
}

/** Reads a message by the name after the last slash of its type URL. */
function readTyped(typeUrl: string, reader: Reader, exact: boolean, depth = MAX_DEPTH): unknown {
  try {
    const read = READERS.get(nameOf(typeUrl));
    return read ? read(reader, exact, depth) : readOther(typeUrl, reader);
  } catch (error) {
    throw notValue(typeUrl, error);
  }
}

function notValue(typeUrl: string, error: unknown): ToolBridgeError {
  if (error instanceof ToolBridgeError) return error;
  const text = error instanceof Error ? error.message : String(error);
  return new SerializationError(`the bytes under ${shown(typeUrl)} are not a value of that type: ${text}`);
}

function readOther(typeUrl: string, reader: Reader): unknown {
  const name = nameOf(typeUrl);
  const codec = codecsByName.get(name);
  if (codec) return codec.decode(new Uint8Array(reader.restBytes()));
  if (TABLE_KINDS.includes(name)) return new ArrowTable(name as TableKind, readBytes(reader));
  if (name.startsWith(UNKNOWN) && name.length > UNKNOWN.length) return readText(reader);
  throw new SerializationError(
    typeUrl === ""
      ? "the Any has no type URL, so it holds no value; null is a google.protobuf.Value"
      : `the type URL ${shown(typeUrl)} is not known; use registerCodec to decode it`,
  );
}

function richReader(exact: boolean): RichReader {
  return new RichReader((url, value, left) => readTyped(url, value, exact, left), exact);
}

function readField<T>(reader: Reader, wanted: number, read: (reader: Reader) => T, missing: T): T {
  let value = missing;
  while (reader.more) {
    const tag = reader.tag();
    if (tag === wanted) value = read(reader);
    else reader.skip(tag);
  }
  return value;
}

function readText(reader: Reader): string {
  return readField(reader, 0x0a, (field) => field.string(), "");
}

function readBytes(reader: Reader): Uint8Array {
  return new Uint8Array(readField<Uint8Array>(reader, 0x0a, (field) => field.bytes(), NO_BYTES));
}

function readUint64(reader: Reader): bigint {
  return readField(reader, 0x08, (field) => field.uint64(), 0n);
}

function shown(typeUrl: string): string {
  return JSON.stringify(typeUrl.slice(0, 200));
}
