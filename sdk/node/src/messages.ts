/** Messages of a peer, parsed by the generated code. */
import { type DescField, type DescMessage, fromBinary, type MessageShape, ScalarType } from "@bufbuild/protobuf";
import { FIXED32, FIXED64, LENGTH, Reader, VARINT, WireError, Writer } from "./wire.js";

/** The library reads as deep. */
const MAX_DEPTH = 100;

/**
 * Parses a message.
 *
 * The library reads a field whatever its wire type, and past the end of the message that it is in. So what a peer sent
 * is checked before, and fields that are not what the proto says are dropped, as unknown ones are.
 *
 * @throws WireError or Error if the bytes are not such a message.
 */
export function parse<Desc extends DescMessage>(schema: Desc, data: Uint8Array): MessageShape<Desc> {
  return fromBinary(schema, checked(schema, data, 0), { readUnknownFields: false });
}

/** Returns the bytes without the fields that are not what the proto says. */
function checked(schema: DescMessage, data: Uint8Array, depth: number): Uint8Array {
  if (depth > MAX_DEPTH) throw new WireError("it is nested too deep");
  const reader = new Reader(data);
  let kept: Writer | undefined;
  while (reader.more) {
    const start = reader.at;
    const tag = reader.tag();
    const field = fieldOf(schema, Math.floor(tag / 8));
    const whole = keptField(reader, tag, field, depth);
    if (whole === true) {
      kept?.raw(data.subarray(start, reader.at));
      continue;
    }
    if (!kept) {
      kept = new Writer();
      kept.raw(data.subarray(0, start));
    }
    if (whole) kept.bytes(tag, whole);
  }
  return kept ? kept.finish() : data;
}

/** Reads a field: true if it is kept as it is, false if it is dropped, else its new content. */
function keptField(reader: Reader, tag: number, field: DescField | undefined, depth: number): Uint8Array | boolean {
  const isMessage = field?.message !== undefined || field?.fieldKind === "map";
  if (!field || !fits(field, tag & 7) || !isMessage) {
    reader.skip(tag);
    return field !== undefined && fits(field, tag & 7);
  }
  const content = reader.bytes();
  if (field.fieldKind === "map") return isEntry(field, content);
  const inner = checked(field.message!, content, depth + 1);
  return inner === content || inner;
}

/** Whether an entry of a map has only a key and a value: the hub drops any other. */
function isEntry(field: DescField & { fieldKind: "map" }, entry: Uint8Array): boolean {
  const reader = new Reader(entry);
  while (reader.more) {
    const tag = reader.tag();
    if (tag !== 8 + wireTypeOf(field.mapKey) && tag !== 16 + valueType(field)) return false;
    if (field.message && tag === 16 + LENGTH) checked(field.message, reader.bytes(), MAX_DEPTH / 2);
    else reader.skip(tag);
  }
  return true;
}

function valueType(field: DescField & { fieldKind: "map" }): number {
  if (field.mapKind === "scalar") return wireTypeOf(field.scalar);
  return field.mapKind === "enum" ? VARINT : LENGTH;
}

function fits(field: DescField, wireType: number): boolean {
  if (field.fieldKind === "map" || field.message) return wireType === LENGTH;
  const own = field.scalar === undefined ? VARINT : wireTypeOf(field.scalar);
  return wireType === own || (field.fieldKind === "list" && own !== LENGTH && wireType === LENGTH);
}

function wireTypeOf(scalar: ScalarType): number {
  switch (scalar) {
    case ScalarType.STRING:
    case ScalarType.BYTES:
      return LENGTH;
    case ScalarType.DOUBLE:
    case ScalarType.FIXED64:
    case ScalarType.SFIXED64:
      return FIXED64;
    case ScalarType.FLOAT:
    case ScalarType.FIXED32:
    case ScalarType.SFIXED32:
      return FIXED32;
    default:
      return VARINT;
  }
}

const fieldsByNumber = new WeakMap<DescMessage, Map<number, DescField>>();

function fieldOf(schema: DescMessage, number: number): DescField | undefined {
  let fields = fieldsByNumber.get(schema);
  if (!fields) {
    fields = new Map(schema.fields.map((field) => [field.number, field]));
    fieldsByNumber.set(schema, fields);
  }
  return fields.get(number);
}
