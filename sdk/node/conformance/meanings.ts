/** Meanings of values, neutral between languages, and their values in JavaScript. */
import { create } from "@bufbuild/protobuf";
import { AnySchema } from "@bufbuild/protobuf/wkt";
import {
  ArrowTable,
  Complex,
  DateTime,
  Decimal,
  deserializeValue,
  Float,
  FrozenSet,
  PlainDate,
  PlainTime,
  serializeValue,
  Tensor,
  TimeDelta,
  Tuple,
  UUID,
} from "../src/index.js";

/** A meaning; the fields depend on its kind. */
export interface Meaning {
  kind: string;
  [field: string]: unknown;
}

/** What each kind of value is in JavaScript. */
export const FORMS: Readonly<Record<string, string>> = {
  null: "null",
  boolean: "boolean",
  integer: "number, beyond 2**53 bigint",
  float: "number; with exact, Float if integral",
  text: "string",
  bytes: "Uint8Array",
  list: "Array",
  dict: "Object; Map where keys are no texts",
  tuple: "Tuple",
  set: "Set",
  frozenset: "FrozenSet",
  datetime: "DateTime",
  date: "PlainDate",
  time: "PlainTime",
  timedelta: "TimeDelta",
  uuid: "UUID",
  decimal: "Decimal",
  complex: "Complex",
  tensor: "Tensor",
  tensor_scalar: "Tensor",
  typed: "ArrowTable",
};

/** Describes a value that was read exactly. */
export function describeValue(value: unknown): Meaning {
  switch (typeof value) {
    case "boolean":
      return { kind: "boolean", value };
    case "string":
      return { kind: "text", text: value };
    case "bigint":
      return { kind: "integer", text: String(value) };
    case "number":
      return Number.isSafeInteger(value) && !Object.is(value, -0)
        ? { kind: "integer", text: String(value) }
        : float(value);
    default:
      return value === null ? { kind: "null" } : describeObject(value as object);
  }
}

function describeObject(value: object): Meaning {
  if (value instanceof Float) return float(value.value);
  if (value instanceof Uint8Array) return { kind: "bytes", base64: base64(value) };
  if (value instanceof Tuple) return { kind: "tuple", items: Array.from(value, describeValue) };
  if (Array.isArray(value)) return { kind: "list", items: value.map(describeValue) };
  if (value instanceof FrozenSet) return { kind: "frozenset", items: Array.from(value, describeValue) };
  if (value instanceof Set) return { kind: "set", items: Array.from(value, describeValue) };
  if (value instanceof Map) return { kind: "dict", entries: Array.from(value, (entry) => entry.map(describeValue)) };
  if (value instanceof DateTime) return { kind: "datetime", ...moment(value) };
  if (value instanceof PlainTime) return { kind: "time", ...moment(value) };
  if (value instanceof PlainDate) return { kind: "date", iso: value.iso };
  if (value instanceof TimeDelta) return { kind: "timedelta", ...value };
  if (value instanceof UUID) return { kind: "uuid", text: value.text };
  if (value instanceof Decimal) return { kind: "decimal", text: value.text };
  if (value instanceof Complex) return { kind: "complex", real: bits(value.real), imag: bits(value.imag) };
  if (value instanceof Tensor) {
    const kind = value.scalar ? "tensor_scalar" : "tensor";
    return { kind, dtype: value.dtype, shape: [...value.shape], base64: base64(value.data) };
  }
  if (value instanceof ArrowTable) {
    const { typeUrl, value: data } = serializeValue(value);
    return { kind: "typed", type_url: typeUrl, base64: base64(data) };
  }
  return { kind: "dict", entries: Object.entries(value).map((entry) => entry.map(describeValue)) };
}

/** Returns the value of a meaning. */
export function realize(meaning: Meaning): unknown {
  const text = String(meaning.text ?? "");
  const items = () => (meaning.items as Meaning[]).map(realize);
  switch (meaning.kind) {
    case "null":
      return null;
    case "boolean":
      return meaning.value;
    case "integer":
      return BigInt(text);
    case "float":
      return new Float(numberOf(meaning.bits));
    case "text":
      return text;
    case "bytes":
      return bytes(meaning.base64);
    case "list":
      return items();
    case "tuple":
      return Tuple.from(items());
    case "set":
      return new Set(items());
    case "frozenset":
      return new FrozenSet(items());
    case "dict":
      return new Map((meaning.entries as [Meaning, Meaning][]).map(([key, item]) => [realize(key), realize(item)]));
    default:
      return leafOf(meaning, text);
  }
}

function leafOf(meaning: Meaning, text: string): unknown {
  const iso = String(meaning.iso ?? "");
  const { zone = "", fold = false, offset_name: offsetName = "" } = meaning as unknown as Record<string, never>;
  switch (meaning.kind) {
    case "datetime":
      return new DateTime(iso, { zone, fold, offsetName });
    case "time":
      return new PlainTime(iso, { zone, fold, offsetName });
    case "date":
      return new PlainDate(iso);
    case "timedelta":
      return new TimeDelta(meaning as { days?: number });
    case "uuid":
      return new UUID(text);
    case "decimal":
      return new Decimal(text);
    case "complex":
      return new Complex(numberOf(meaning.real), numberOf(meaning.imag));
    case "tensor":
    case "tensor_scalar":
      return new Tensor(
        String(meaning.dtype),
        meaning.shape as number[],
        bytes(meaning.base64),
        meaning.kind === "tensor_scalar",
      );
    case "typed":
      return deserializeValue(create(AnySchema, { typeUrl: String(meaning.type_url), value: bytes(meaning.base64) }));
    default:
      throw new Error(`a meaning has the unknown kind ${meaning.kind}`);
  }
}

function float(value: number): Meaning {
  return { kind: "float", bits: bits(value) };
}

/** The bits of a double as 16 hexadecimal digits; every NaN has the same. */
export function bits(value: number): string {
  if (Number.isNaN(value)) return "7ff8000000000000";
  const buffer = Buffer.alloc(8);
  buffer.writeDoubleBE(value);
  return buffer.toString("hex");
}

/** The double with these bits. */
export function numberOf(digits: unknown): number {
  return Buffer.from(String(digits), "hex").readDoubleBE();
}

function moment({ iso, zone, fold, offsetName }: DateTime | PlainTime): Record<string, unknown> {
  return { iso, zone, fold, offset_name: offsetName };
}

/** Bytes as base64, as everywhere in the peer's protocol. */
export function base64(data: Uint8Array): string {
  return Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString("base64");
}

/** The bytes of a base64 text, in memory of their own. */
export function bytes(text: unknown): Uint8Array {
  return new Uint8Array(Buffer.from(String(text ?? ""), "base64"));
}
