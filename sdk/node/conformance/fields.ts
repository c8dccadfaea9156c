/** Messages as JSON objects of their fields, by the names in the proto. */
import {
  clone,
  create,
  createFileRegistry,
  type DescField,
  type DescMessage,
  type Message,
  ScalarType,
} from "@bufbuild/protobuf";
import { type ReflectMessage, reflect } from "@bufbuild/protobuf/reflect";
import {
  FileDescriptorProtoSchema,
  FileDescriptorSetSchema,
  file_google_protobuf_any,
  file_google_protobuf_empty,
  file_google_protobuf_struct,
  file_google_protobuf_timestamp,
  file_google_protobuf_wrappers,
} from "@bufbuild/protobuf/wkt";
import { file_dspex_bridge } from "../src/gen/dspex_bridge_pb.js";
import { base64, bits, bytes, numberOf } from "./meanings.js";

type Fields = Record<string, unknown>;

const FILES = [
  file_google_protobuf_any,
  file_google_protobuf_empty,
  file_google_protobuf_struct,
  file_google_protobuf_timestamp,
  file_google_protobuf_wrappers,
  file_dspex_bridge,
];

/** The library shows a Struct as a JSON object, which has no Value without a kind; under another name it does not. */
function plainStruct(name: string): string {
  return name.replace(/^(\.?)google\.protobuf\.(Struct|Value|ListValue|NullValue)\b/, "$1plain.$2");
}

const registry = createFileRegistry(
  create(FileDescriptorSetSchema, {
    file: FILES.map(({ proto }) => {
      const file = clone(FileDescriptorProtoSchema, proto);
      if (file.name.endsWith("/struct.proto")) file.package = "plain";
      for (const message of file.messageType.flatMap((each) => [each, ...each.nestedType])) {
        for (const field of message.field) field.typeName = plainStruct(field.typeName);
      }
      return file;
    }),
  }),
);

/** Finds the type of a message. */
export function schemaOf(name: string): DescMessage {
  const found = registry.getMessage(plainStruct(name));
  if (!found) throw new Error(`there is no message ${name}`);
  return found;
}

/** Returns the fields that are set. */
export function fieldsOf(schema: DescMessage, message: Message): Fields {
  return fieldsOfReflected(reflect(schema, message));
}

function fieldsOfReflected(message: ReflectMessage): Fields {
  const fields: Fields = {};
  for (const field of message.fields) {
    if (message.isSet(field)) fields[field.name] = jsonOf(field, message.get(field as never));
  }
  return fields;
}

function jsonOf(field: DescField, value: unknown): unknown {
  switch (field.fieldKind) {
    case "list":
      return Array.from(value as Iterable<unknown>, (item) =>
        itemOf(field.listKind === "scalar" ? field.scalar : undefined, item),
      );
    case "map":
      return Object.fromEntries(
        Array.from(value as Iterable<[unknown, unknown]>, ([key, item]) => [
          String(key),
          itemOf(field.mapKind === "scalar" ? field.scalar : undefined, item),
        ]),
      );
    default:
      return itemOf(field.fieldKind === "scalar" ? field.scalar : undefined, value);
  }
}

/** A single value; without a scalar type it is a message or the number of an enum. */
function itemOf(type: ScalarType | undefined, value: unknown): unknown {
  if (type === undefined) return typeof value === "number" ? value : fieldsOfReflected(value as ReflectMessage);
  if (value instanceof Uint8Array) return base64(value);
  if (typeof value === "bigint") return String(value);
  return type === ScalarType.DOUBLE || type === ScalarType.FLOAT ? bits(value as number) : value;
}

/** Makes a message of its fields. */
export function messageOf(schema: DescMessage, fields: Fields): Message {
  const message = create(schema);
  fill(reflect(schema, message), fields);
  return message;
}

function fill(target: ReflectMessage, fields: Fields): void {
  for (const [name, given] of Object.entries(fields)) {
    const field = target.fields.find((each) => each.name === name);
    if (!field) throw new Error(`there is no field ${name}`);
    if (field.fieldKind === "list") {
      const list = target.get(field);
      for (const item of given as unknown[]) list.add(valueFrom(field, item));
    } else if (field.fieldKind === "map") {
      const map = target.get(field);
      for (const [key, item] of Object.entries(given as Fields)) map.set(key, valueFrom(field, item));
    } else {
      target.set(field, valueFrom(field, given) as never);
    }
  }
}

function valueFrom(field: DescField, given: unknown): unknown {
  if (field.message) {
    const inner = reflect(field.message, create(field.message));
    fill(inner, given as Fields);
    return inner;
  }
  switch (field.scalar) {
    case ScalarType.BYTES:
      return bytes(given);
    case ScalarType.DOUBLE:
    case ScalarType.FLOAT:
      return numberOf(given);
    case ScalarType.INT64:
    case ScalarType.UINT64:
    case ScalarType.SINT64:
      return BigInt(String(given));
    default:
      return given;
  }
}
