/**
 * Checks arguments against a JSON Schema.
 *
 * It knows the keywords that tools are described with; others only describe. For everything else there is Zod.
 */
import { ValidationError } from "../errors.js";
import { describe } from "../texts.js";
import { Float } from "../values/types.js";
import type { JsonSchema, StandardIssue } from "./schema.js";

/** Where a value is, from the inside out; it becomes an array only where something is wrong. */
type Path = { readonly key: PropertyKey; readonly parent: Path } | undefined;
/** Tells what is wrong with a value. */
type Check = (value: unknown, path: Path, issues: Issues) => void;

/** What is wrong so far. */
class Issues {
  readonly found: StandardIssue[] = [];

  add(message: string, path: Path): void {
    const keys: PropertyKey[] = [];
    for (let step = path; step; step = step.parent) keys.unshift(step.key);
    this.found.push({ message, path: keys });
  }
}

/** References that are followed one after another, before they are taken for a circle. */
const MAX_REFERENCES = 32;

/**
 * Compiles a schema.
 *
 * @returns What is wrong with a value; nothing if it fits.
 * @throws ValidationError if a pattern or a reference in the schema cannot be used.
 */
export function compileSchema(schema: JsonSchema): (value: unknown) => StandardIssue[] {
  const check = new Compiler(schema).compile(schema);
  return (value) => {
    const issues = new Issues();
    check(value, undefined, issues);
    return issues.found;
  };
}

class Compiler {
  readonly #byReference = new Map<string, Check>();

  constructor(private readonly root: JsonSchema) {}

  compile(schema: unknown, references = 0): Check {
    if (schema === true || schema === undefined) return () => undefined;
    if (schema === false) return (_, path, issues) => issues.add("is not allowed", path);
    if (typeof schema !== "object" || schema === null) {
      throw new ValidationError(`a JSON Schema must be an object, not ${describe(schema)}`);
    }
    const facts = schema as Record<string, unknown>;
    const checks = [
      ...this.#reference(facts, references),
      ...typeChecks(facts),
      ...numberChecks(facts),
      ...textChecks(facts),
      ...this.#arrayChecks(facts),
      ...this.#objectChecks(facts),
      ...this.#combined(facts),
    ];
    return (value, path, issues) => {
      for (const check of checks) check(value, path, issues);
    };
  }

  #reference({ $ref: reference }: Record<string, unknown>, references: number): Check[] {
    if (typeof reference !== "string") return [];
    if (references > MAX_REFERENCES) throw new ValidationError(`the reference ${reference} leads to itself`);
    const known = this.#byReference.get(reference);
    if (known) return [known];
    let target: Check | undefined;
    // A schema may contain itself, so a reference is followed when it is first used.
    const late: Check = (value, path, issues) => target!(value, path, issues);
    this.#byReference.set(reference, late);
    target = this.compile(this.#find(reference), references + 1);
    return [late];
  }

  #find(reference: string): unknown {
    let found: unknown = reference.startsWith("#") ? this.root : undefined;
    for (const step of reference.slice(1).split("/").slice(1)) {
      const key = decodeURIComponent(step).replaceAll("~1", "/").replaceAll("~0", "~");
      found = typeof found === "object" && found !== null ? (found as Record<string, unknown>)[key] : undefined;
    }
    if (found === undefined) throw new ValidationError(`the reference ${reference} is not in the schema`);
    return found;
  }

  #arrayChecks({ items, prefixItems = [], minItems, maxItems }: Record<string, unknown>): Check[] {
    const first = (prefixItems as unknown[]).map((item) => this.compile(item));
    const rest = this.compile(items);
    return [
      (value, path, issues) => {
        if (!Array.isArray(value)) return;
        if (typeof minItems === "number" && value.length < minItems) {
          issues.add(`must have at least ${minItems} items, not ${value.length}`, path);
        }
        if (typeof maxItems === "number" && value.length > maxItems) {
          issues.add(`must have at most ${maxItems} items, not ${value.length}`, path);
        }
        for (const [index, item] of value.entries()) (first[index] ?? rest)(item, { key: index, parent: path }, issues);
      },
    ];
  }

  #objectChecks(facts: Record<string, unknown>): Check[] {
    const { properties = {}, required = [], additionalProperties, patternProperties = {} } = facts;
    const known = new Map(Object.entries(properties as object).map(([name, each]) => [name, this.compile(each)]));
    const patterns = Object.entries(patternProperties as object).map(
      ([pattern, each]) => [regExpOf(pattern), this.compile(each)] as const,
    );
    const others = this.compile(additionalProperties);
    const checkEntry = (name: string, item: unknown, path: Path, issues: Issues): void => {
      const own = known.get(name);
      const place = { key: name, parent: path };
      own?.(item, place, issues);
      let matches = own !== undefined;
      for (const [pattern, check] of patterns) {
        if (!pattern.test(name)) continue;
        matches = true;
        check(item, place, issues);
      }
      if (!matches) others(item, place, issues);
    };
    return [
      (value, path, issues) => {
        if (!TYPES.object!(value)) return;
        const isMap = value instanceof Map;
        for (const name of required as string[]) {
          if (!(isMap ? value.has(name) : Object.hasOwn(value as object, name))) {
            issues.add("missing", { key: name, parent: path });
          }
        }
        if (isMap) {
          for (const [name, item] of value) checkEntry(name, item, path, issues);
        } else {
          const record = value as Record<string, unknown>;
          for (const name of Object.keys(record)) checkEntry(name, record[name], path, issues);
        }
      },
    ];
  }

  #combined({ allOf = [], anyOf, oneOf, not }: Record<string, unknown>): Check[] {
    const checks = (allOf as unknown[]).map((each) => this.compile(each));
    if (Array.isArray(anyOf)) checks.push(this.#counted(anyOf, (fitting) => fitting > 0, "must fit one of several"));
    if (Array.isArray(oneOf))
      checks.push(this.#counted(oneOf, (fitting) => fitting === 1, "must fit exactly one of several"));
    if (not !== undefined) checks.push(this.#counted([not], (fitting) => fitting === 0, "must not fit"));
    return checks;
  }

  #counted(schemas: unknown[], isFine: (fitting: number) => boolean, text: string): Check {
    const checks = schemas.map((each) => this.compile(each));
    return (value, path, issues) => {
      const problems = checks.map((check) => {
        const mine = new Issues();
        check(value, path, mine);
        return mine.found;
      });
      const fitting = problems.filter((mine) => mine.length === 0).length;
      if (isFine(fitting)) return;
      // Of a choice between null and something else, what is wrong with the latter says more.
      const [only, ...more] = problems.filter((_, index) => (schemas[index] as JsonSchema).type !== "null");
      if (fitting === 0 && only && more.length === 0 && schemas.length > 1) issues.found.push(...only);
      else issues.add(`${text} schemas`, path);
    };
  }
}

const TYPES: Readonly<Record<string, (value: unknown) => boolean>> = {
  null: (value) => value === null,
  boolean: (value) => typeof value === "boolean",
  integer: (value) =>
    typeof value === "bigint" || Number.isInteger(value) || (value instanceof Float && Number.isInteger(value.value)),
  number: (value) => typeof value === "number" || typeof value === "bigint" || value instanceof Float,
  string: (value) => typeof value === "string" || value instanceof Uint8Array,
  array: (value) => Array.isArray(value) || value instanceof Set,
  object: isObject,
};

function typeChecks({ type, enum: choices, const: only }: Record<string, unknown>): Check[] {
  const checks: Check[] = [];
  if (type !== undefined) {
    const names = (Array.isArray(type) ? type : [type]) as string[];
    const unknown = names.find((name) => !Object.hasOwn(TYPES, name));
    if (unknown !== undefined) throw new ValidationError(`${describe(unknown)} is not a type of JSON Schema`);
    checks.push((value, path, issues) => {
      if (!names.some((name) => TYPES[name]!(value))) {
        issues.add(`must be of type ${names.join(" or ")}, not ${describe(value)}`, path);
      }
    });
  }
  const values = Array.isArray(choices) ? choices : only === undefined ? undefined : [only];
  if (values) {
    const texts = new Set(values.map((each) => JSON.stringify(each)));
    checks.push((value, path, issues) => {
      if (!texts.has(comparable(value))) {
        issues.add(`must be ${[...texts].join(" or ")}, not ${describe(value)}`, path);
      }
    });
  }
  return checks;
}

function comparable(value: unknown): string {
  return JSON.stringify(value, (_, item: unknown) => (typeof item === "bigint" ? Number(item) : item)) ?? "";
}

const BOUNDS: readonly (readonly [string, (value: number, bound: number) => boolean, string])[] = [
  ["minimum", (value, bound) => value >= bound, "at least"],
  ["maximum", (value, bound) => value <= bound, "at most"],
  ["exclusiveMinimum", (value, bound) => value > bound, "more than"],
  ["exclusiveMaximum", (value, bound) => value < bound, "less than"],
  ["multipleOf", (value, bound) => Number.isInteger(value / bound), "a multiple of"],
];

function numberChecks(facts: Record<string, unknown>): Check[] {
  return BOUNDS.flatMap(([name, isFine, text]) => {
    const bound = facts[name];
    if (typeof bound !== "number") return [];
    const check: Check = (value, path, issues) => {
      if (!TYPES.number!(value) || isFine(Number(value), bound)) return;
      issues.add(`must be ${text} ${bound}, not ${describe(value)}`, path);
    };
    return [check];
  });
}

function textChecks({ minLength, maxLength, pattern }: Record<string, unknown>): Check[] {
  const wanted = typeof pattern === "string" ? regExpOf(pattern) : undefined;
  return [
    (value, path, issues) => {
      if (typeof value !== "string") return;
      const length = minLength !== undefined || maxLength !== undefined ? [...value].length : 0;
      if (typeof minLength === "number" && length < minLength) {
        issues.add(`must have at least ${minLength} characters, not ${length}`, path);
      }
      if (typeof maxLength === "number" && length > maxLength) {
        issues.add(`must have at most ${maxLength} characters, not ${length}`, path);
      }
      if (wanted && !wanted.test(value)) issues.add(`must match ${String(pattern)}`, path);
    },
  ];
}

function regExpOf(pattern: string): RegExp {
  try {
    return new RegExp(pattern, "u");
  } catch (error) {
    throw new ValidationError(`a pattern in the schema cannot be used: ${(error as Error).message}`);
  }
}

/** Whether a value is an object of plain properties, or a Map with texts as keys. */
function isObject(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  if (value instanceof Map) return [...value.keys()].every((key) => typeof key === "string");
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}
