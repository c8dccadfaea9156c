// What a JSON Schema asks for, and values as a form writes them. Nothing here knows of a page.

import { MOST_STEPS, matches, stepsOf } from "./patterns.js";

/** Parts of a value that are compared with parts of a schema, which may have one schema in many ways. */
const MOST_CHECKS = 20_000;
/** Steps of matching a pattern that count as one of them. */
const STEPS = 100_000;
/** Values within values that are compared, references to references that are followed, and kinds of one union that are named. */
const MOST_LEVELS = 200;
const MOST_LINKS = 500;
/** Names of an object, and kinds of a union, that a form has fields for. */
const MOST_NAMES = 1_000;
const MOST_VARIANTS = 200;
const MOST_NAMED = 8;
const MOST_NAME_CHARS = 200;
const CONDITIONS = ["type", "$ref", "properties", "const", "enum", "items", "prefixItems", "anyOf", "oneOf", "allOf"];
/** Tags of values that are a text where the schema asks for a text. */
const TEXT_TAGS = new Set(["date", "datetime", "time", "UUID", "Decimal"]);
const LIST_TAGS = new Set(["tuple", "set", "frozenset"]);

const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
const own = (object, name) => (isObject(object) && Object.hasOwn(object, name) ? object[name] : undefined);

/** Whether a value is `{"$type": …, "value": …}`: one that JSON has no form for. */
export function isTagged(value) {
  return isObject(value) && Object.keys(value).length === 2 && Object.hasOwn(value, "$type") && Object.hasOwn(value, "value");
}

/** Whether a value is an object of JSON, by names. */
export const isMap = (value) => isObject(value) && !isTagged(value);

export const tagged = (type, value) => ({ $type: type, value });

// What was found before, by schema: parts of one may be parts of others very many times over.
const resolved = new WeakMap();
const shapes = new WeakMap();

/** Follows references and puts what applies to the same value together: a schema without $ref and allOf. */
export function resolve(schema, root, level = 0) {
  if (!isObject(schema) || level > MOST_LINKS) return {};
  if (!resolved.has(schema)) {
    // One that refers to itself says nothing more by that.
    resolved.set(schema, {});
    resolved.set(schema, whole(schema, root, level + 1));
  }
  return resolved.get(schema);
}

function whole({ $ref, ...rest }, root, level) {
  const found = typeof $ref === "string" ? { ...resolve(pointed(root, $ref), root, level), ...rest } : rest;
  if (!Array.isArray(found.allOf)) return found;
  const { allOf, ...own } = found;
  return [...allOf.map((part) => resolve(part, root, level)), own].reduce(merged, {});
}

function pointed(root, reference) {
  if (!reference.startsWith("#")) return {};
  let text = reference.slice(1);
  try {
    text = decodeURIComponent(text);
  } catch {
    // Then it stands for itself.
  }
  return text
    .split("/")
    .slice(1)
    .map((step) => step.replaceAll("~1", "/").replaceAll("~0", "~"))
    .reduce((part, step) => (Array.isArray(part) ? part[step] : own(part, step)), root);
}

function merged(first, second) {
  const both = { ...first, ...second };
  if (first.properties && second.properties) both.properties = { ...first.properties, ...second.properties };
  if (first.required && second.required) both.required = [...new Set([...first.required, ...second.required])];
  return both;
}

/**
 * What a schema is to a form: { kind, schema } with kind "text", "bytes", "integer", "number", "boolean", "null", "const",
 * "enum", "array", "object", "union" (with `variants`, schemas) or "json" (anything, written as JSON).
 */
export function shapeOf(given, root) {
  const schema = resolve(given, root);
  if (!shapes.has(schema)) {
    shapes.set(schema, { kind: "json", schema });
    shapes.set(schema, shaped(schema, root));
  }
  return shapes.get(schema);
}

function shaped(schema, root) {
  if (Object.hasOwn(schema, "const")) return { kind: "const", schema };
  if (Array.isArray(schema.enum) && schema.enum.length > 0) return { kind: "enum", schema };
  const variants = variantsOf(schema, root);
  if (variants.length > MOST_VARIANTS) return { kind: "json", schema };
  if (variants.length > 1) return { kind: "union", schema, variants };
  if (variants.length === 1) return shapeOf(variants[0], root);
  switch (schema.type) {
    case "string":
      return { kind: schema.contentEncoding === "base64" || schema.format === "binary" ? "bytes" : "text", schema };
    case "integer":
    case "number":
    case "boolean":
    case "null":
    case "array":
      return { kind: schema.type, schema };
    case "object":
      return { kind: hasForm(schema) ? "object" : "json", schema };
    default:
      if (isObject(schema.properties)) return { kind: hasForm(schema) ? "object" : "json", schema };
      return { kind: schema.items || schema.prefixItems ? "array" : "json", schema };
  }
}

const hasForm = ({ properties }) => !isObject(properties) || Object.keys(properties).length <= MOST_NAMES;

function variantsOf(schema, root) {
  if (Array.isArray(schema.type)) {
    const { type, ...rest } = schema;
    return type.map((one) => (one === "null" ? { type: one } : { ...rest, type: one }));
  }
  const choices = schema.anyOf ?? schema.oneOf;
  if (!Array.isArray(choices)) return [];
  // Conditions on the same value, such as which of its names go together, are left to the hub.
  if (!choices.some((choice) => CONDITIONS.some((key) => key in resolve(choice, root)))) return [];
  const { anyOf, oneOf, title, description, default: _, ...base } = schema;
  const own = CONDITIONS.some((key) => key in base);
  return choices.map((choice) => (own ? { allOf: [base, choice] } : choice));
}

// By shape and depth: one may be a part of another in very many ways.
const named = new WeakMap();

/** A schema in a word or two: "integer", "date", "list of Place". */
export function typeName(given, root, depth = 0) {
  const shape = shapeOf(given, root);
  if (!named.has(shape)) named.set(shape, []);
  const names = named.get(shape);
  names[depth] ??= shortened(nameOf(shape, root, depth));
  return names[depth];
}

const shortened = (name) => (typeof name === "string" && name.length > MOST_NAME_CHARS ? `${name.slice(0, MOST_NAME_CHARS)}…` : name);

function nameOf({ kind, schema, variants }, root, depth) {
  if (kind === "union") {
    const names = variants.slice(0, MOST_NAMED).map((variant) => (depth > 2 ? "…" : typeName(variant, root, depth + 1)));
    return [...names, ...(variants.length > MOST_NAMED ? ["…"] : [])].join(" or ");
  }
  if (kind === "const") return show(schema.const);
  if (kind === "enum") return schema.title ?? "choice";
  if (kind === "text") return schema.format ?? "text";
  if (kind === "array" && !schema.prefixItems && depth < 3) return `list of ${typeName(schema.items, root, depth + 1)}`;
  if (kind === "array") return "list";
  if (kind === "json") return schema.title ?? "any value";
  return kind === "object" ? (schema.title ?? "object") : kind;
}

const show = (value) => (typeof value === "string" ? value : JSON.stringify(value));

/** The names of an object: [name, schema, whether it is required]. */
export function propertiesOf(schema) {
  const required = new Set(Array.isArray(schema.required) ? schema.required : []);
  return Object.entries(isObject(schema.properties) ? schema.properties : {}).map(([name, part]) => [
    name,
    part,
    required.has(name),
  ]);
}

/** What further names of an object have; null: nobody asks for any. */
export function restOf({ additionalProperties: rest, properties }) {
  if (isObject(rest)) return rest;
  return rest === true || (rest === undefined && !properties) ? {} : null;
}

/** What the entry of a list has. */
export const itemOf = (schema, index) => schema.prefixItems?.[index] ?? (isObject(schema.items) ? schema.items : {});

/** Takes the tags off a value where a form for this kind shows it without them and sends the same again. */
export function untagged(value, kind) {
  if (!isTagged(value)) return value;
  const { $type: type, value: inner } = value;
  if (kind === "text" && TEXT_TAGS.has(type) && typeof inner === "string") return inner;
  if (kind === "array" && LIST_TAGS.has(type) && Array.isArray(inner)) return inner;
  return value;
}

/** Whether a form for this schema can show a value; a text that was meant to become one counts for kinds of one field. */
export function fits(value, given, root, left = { checks: MOST_CHECKS, level: 0 }) {
  if (left.checks-- <= 0 || left.level >= MOST_LEVELS) return false;
  left.level++;
  const isFit = fitsShape(value, shapeOf(given, root), root, left);
  left.level--;
  return isFit;
}

function fitsShape(value, { kind, schema, variants }, root, left) {
  const inner = untagged(value, kind);
  switch (kind) {
    case "union":
      return variants.some((variant) => fits(value, variant, root, left));
    case "const":
      return same(inner, schema.const);
    case "enum":
      return schema.enum.some((entry) => same(entry, inner));
    case "text":
      return typeof inner === "string" && fitsPattern(inner, schema, left);
    case "bytes":
      return isTagged(value) && value.$type === "bytes";
    case "integer":
      return Number.isInteger(value) || (isTagged(value) && value.$type === "int");
    case "number":
      return typeof value === "number" || (isTagged(value) && ["int", "float"].includes(value.$type));
    case "boolean":
      return typeof value === "boolean";
    case "null":
      return value === null;
    case "array":
      return Array.isArray(inner) && inner.every((entry, index) => fits(entry, itemOf(schema, index), root, left));
    case "object":
      return isMap(value) && fitsObject(value, schema, root, left);
    default:
      return true;
  }
}

function fitsPattern(text, schema, left) {
  if (schema.pattern === undefined) return true;
  const steps = typeof schema.pattern === "string" ? stepsOf(schema.pattern, text.length) : 0;
  if (steps <= MOST_STEPS) left.checks -= Math.floor(steps / STEPS);
  return left.checks > 0 && !problemOfText(text, schema);
}

function fitsObject(value, schema, root, left) {
  const known = propertiesOf(schema);
  const names = new Set(known.map(([name]) => name));
  return (
    known.every(([name, part, required]) => (Object.hasOwn(value, name) ? fits(value[name], part, root, left) : !required)) &&
    (schema.additionalProperties !== false || Object.keys(value).every((name) => names.has(name)))
  );
}

const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);

/** The place of the variant that a value is of; -1: of none. What almost fits counts where nothing fits. */
export function variantOf(value, variants, root) {
  const left = { checks: MOST_CHECKS, level: 0 };
  const exact = variants.findIndex((variant) => fits(value, variant, root, left));
  if (exact >= 0) return exact;
  return variants.findIndex((variant) => {
    const { kind, schema } = shapeOf(variant, root);
    if (typeof value === "string") return ["text", "bytes", "integer", "number"].includes(kind);
    if (kind === "array") return Array.isArray(value);
    return (
      kind === "object" &&
      isMap(value) &&
      propertiesOf(schema).every(
        ([name, part]) => shapeOf(part, root).kind !== "const" || same(own(value, name), resolve(part, root).const),
      )
    );
  });
}

const INTEGER = /^[+-]?\d+$/;
const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/;
const NAMED = { nan: "nan", inf: "inf", infinity: "inf", "+inf": "inf", "+infinity": "inf", "-inf": "-inf", "-infinity": "-inf" };

/** Reads what was typed for a number; what is none stays the text that it is. Any integer is exact. */
export function numberOf(text, kind) {
  const typed = text.trim();
  if (INTEGER.test(typed)) {
    const number = Number(typed);
    return Number.isSafeInteger(number) ? number + 0 : tagged("int", String(BigInt(typed.replace("+", ""))));
  }
  if (kind === "integer") return text;
  if (NUMBER.test(typed)) return Number.isFinite(Number(typed)) ? Number(typed) : text;
  return Object.hasOwn(NAMED, typed.toLowerCase()) ? tagged("float", NAMED[typed.toLowerCase()]) : text;
}

/** Writes a value into a field of one line; null: it cannot stand there. */
export function textOf(value, kind) {
  const plain = untagged(value, kind);
  if (typeof plain === "string") return plain;
  if (kind === "text") return null;
  if (kind === "bytes") return isTagged(value) && value.$type === "bytes" && typeof value.value === "string" ? value.value : null;
  if (typeof value === "number") return kind === "integer" && !Number.isInteger(value) ? null : exactly(value);
  const named = isTagged(value) && (value.$type === "int" || (kind === "number" && value.$type === "float"));
  return named && typeof value.value === "string" ? value.value : null;
}

// A whole number has no exponent in Python's int.
const exactly = (number) => (Number.isSafeInteger(number) ? String(number) : JSON.stringify(number));

const FORMATS = {
  date: [/^\d{4}-\d\d-\d\d$/, "a date such as 2026-01-31"],
  "date-time": [
    /^\d{4}-\d\d-\d\d([T ]\d\d(:?\d\d(:?\d\d([.,]\d+)?)?)?\s*(Z|[+-]\d\d(:?\d\d)?)?)?$/i,
    "a moment such as 2026-01-31T14:00:00+01:00",
  ],
  time: [/^\d\d(:?\d\d(:?\d\d([.,]\d+)?)?)?\s*(Z|[+-]\d\d(:?\d\d)?)?$/i, "a time such as 14:00:00"],
  uuid: [
    /^(urn:uuid:)?\{?[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}\}?$/i,
    "a UUID such as 123e4567-e89b-12d3-a456-426614174000",
  ],
};

/** What is asked for, of a text with this format; empty: nothing in particular. */
export const example = (format) =>
  Object.hasOwn(FORMATS, format ?? "") ? FORMATS[format][1] : format === "duration" ? "a duration such as PT1H30M" : "";

/** What is wrong with a text; empty: nothing. */
export function problemOfText(text, schema) {
  const { minLength = 0, maxLength = Infinity } = schema;
  const length = minLength || maxLength < Infinity ? lengthOf(text) : 0;
  if (length < minLength) return `At least ${schema.minLength} characters; these are ${length}.`;
  if (length > maxLength) return `At most ${schema.maxLength} characters; these are ${length}.`;
  if (Object.hasOwn(FORMATS, schema.format ?? "") && !FORMATS[schema.format][0].test(text))
    return `Give ${FORMATS[schema.format][1]}.`;
  return matches(text, schema.pattern) ? "" : `It must match ${schema.pattern}.`;
}

// Characters as the hub counts them, each of them one.
function lengthOf(text) {
  let length = 0;
  for (const _ of text) length++;
  return length;
}

/** What is wrong with base64; empty: nothing. */
export function problemOfBytes(text) {
  const digits = text.replace(/\s/g, "");
  return digits.length % 4 === 0 && /^[\w+/-]*={0,2}$/.test(digits)
    ? ""
    : "Give base64, four characters for each three bytes, or choose a file.";
}

/** What is wrong with a number that was typed; empty: nothing. */
export function problemOfNumber(text, kind, schema) {
  const value = numberOf(text, kind);
  if (typeof value === "string") return kind === "integer" ? "Give a whole number." : "Give a number, or NaN, inf or -inf.";
  const number = typeof value === "number" ? value : Number(value.value);
  const { minimum, maximum, exclusiveMinimum, exclusiveMaximum, multipleOf } = schema;
  if (number < minimum) return `At least ${minimum}.`;
  if (number > maximum) return `At most ${maximum}.`;
  if (number <= exclusiveMinimum) return `More than ${exclusiveMinimum}.`;
  if (number >= exclusiveMaximum) return `Less than ${exclusiveMaximum}.`;
  if (multipleOf && Number.isInteger(multipleOf) && number % multipleOf !== 0) return `A multiple of ${multipleOf}.`;
  return "";
}

/** Splits what the hub says of one argument: [[path, text], …], as ".days[0].name is missing" → ["days", 0, "name"]. */
export function problemsOf(text) {
  return text.split(/; (?=[.[])/).map((part) => {
    const [, steps, rest] = /^((?:\.[\p{L}_][\p{L}\d_]*|\[\d+\])*)\s*(.*)$/su.exec(part);
    const path = [...steps.matchAll(/\.([^.[]+)|\[(\d+)\]/g)].map(([, name, index]) => name ?? Number(index));
    return [path, rest || part];
  });
}
