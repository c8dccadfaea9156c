/** A tool: a function, what it takes, and what it says of itself. */
import { create } from "@bufbuild/protobuf";
import { ValidationError } from "../errors.js";
import {
  type ArgumentSpec,
  ArgumentSpecSchema,
  type ToolSpec,
  ToolSpecSchema,
  ToolType,
} from "../gen/dspex_bridge_pb.js";
import { describe, isName } from "../texts.js";
import { serializeValue } from "../values/index.js";
import { setOwn } from "../values/json.js";
import type { ToolContext } from "./context.js";
import { compileSchema } from "./jsonschema.js";
import {
  isStandard,
  type JsonSchema,
  jsonSchemaOf,
  type OutputOf,
  type StandardResult,
  type ToolSchema,
} from "./schema.js";

const MAX_NAME_CHARS = 128;

/** What a tool returns: a value, a promise of one, or values one after another. */
export type ToolResult<T> = T | Promise<T> | AsyncIterable<T> | Iterable<T>;

/** Limits of a tool; those that are not set are the hub's. */
export interface ToolLimits {
  /** Milliseconds of one call. */
  timeoutMs?: number;
  /** Over all sessions; further calls wait in order. */
  maxConcurrentCalls?: number;
  /** Over all sessions; further calls are refused. */
  rateLimitPerMinute?: number;
}

/** What `tool` is given. */
export interface ToolDefinition<Input extends ToolSchema = ToolSchema, Result = unknown> {
  /** 1 to 128 characters. */
  name: string;
  /** What it does, for people and models. */
  description?: string;
  /** Its arguments by name: a Zod schema of an object, or a JSON Schema; default: none. */
  input?: Input;
  /** Its result, or one value of its stream: a Zod schema or a JSON Schema. Described, not checked. */
  output?: ToolSchema;
  /** A function or an async generator, which makes the tool a streaming one. */
  run: (args: OutputOf<Input>, context: ToolContext) => Result;
  /** Whether it yields values one after another; default: whether `run` is a generator function. */
  streaming?: boolean;
  /** Whether calling twice has the effect of calling once, so that a failed call may be repeated. */
  idempotent?: boolean;
  version?: string;
  limits?: ToolLimits;
  metadata?: Record<string, string>;
  examples?: string[];
}

/** A tool for a Worker, made by `tool`. */
export interface Tool {
  readonly name: string;
  /** What the hub is told. */
  readonly spec: ToolSpec;
  /** Checks arguments; returns those that `run` gets, or what is wrong. */
  readonly check: (args: Record<string, unknown>) => StandardResult<unknown> | Promise<StandardResult<unknown>>;
  /** The names of its arguments, in order. */
  readonly argumentNames: readonly string[];
  readonly streaming: boolean;
  readonly run: (args: never, context: ToolContext) => unknown;
}

/**
 * Makes a tool of a function.
 *
 * @throws ValidationError if the name or a schema cannot be used.
 *
 * @example
 * ```ts
 * const add = tool({
 *   name: "add",
 *   description: "Adds two numbers.",
 *   input: z.object({ a: z.number(), b: z.number() }),
 *   run: ({ a, b }) => a + b,
 * });
 *
 * const count = tool({
 *   name: "count",
 *   input: z.object({ upTo: z.int() }),
 *   async *run({ upTo }, { signal }) {
 *     for (let n = 1; n <= upTo && !signal.aborted; n++) yield n;
 *   },
 * });
 * ```
 */
export function tool<Input extends ToolSchema, Result>(definition: ToolDefinition<Input, Result>): Tool {
  const { name, input, output, run } = definition;
  if (!isName(name) || name.length > MAX_NAME_CHARS) {
    throw new ValidationError(
      `the name of a tool must be a text of 1 to ${MAX_NAME_CHARS} characters, not ${describe(name)}`,
    );
  }
  if (typeof run !== "function")
    throw new ValidationError(`tool ${name}: run must be a function, not ${describe(run)}`);
  const schema: JsonSchema = input ? jsonSchemaOf(name, input, "input") : NO_ARGUMENTS;
  const properties = objectOf(name, schema);
  const streaming = definition.streaming ?? isGenerator(run);
  const spec = create(ToolSpecSchema, {
    toolId: name,
    name,
    description: definition.description ?? "",
    type: streaming ? ToolType.STREAMING : ToolType.STANDARD,
    arguments: argumentsOf(schema, properties),
    inputSchema: JSON.stringify(schema),
    outputSchema: output ? JSON.stringify(jsonSchemaOf(name, output, "output")) : "",
    metadata: definition.metadata ?? {},
    examples: definition.examples ?? [],
    version: definition.version ?? "",
    idempotent: definition.idempotent ?? false,
    ...(definition.limits && { limits: definition.limits }),
  });
  const check = checkOf(name, input, schema);
  return { name, spec, check, argumentNames: Object.keys(properties), streaming, run: run as Tool["run"] };
}

/** Zod checks by itself; with a JSON Schema, arguments that are left out get their defaults. */
function checkOf(name: string, input: ToolSchema | undefined, schema: JsonSchema): Tool["check"] {
  if (input && isStandard(input)) return (args) => input["~standard"].validate(args);
  const problems = compiled(name, schema);
  const defaults = Object.entries(objectOf(name, schema)).flatMap(([property, facts]) => {
    const fallback = (facts as JsonSchema | undefined)?.default;
    return fallback === undefined ? [] : [[property, fallback] as const];
  });
  return (args) => {
    const value = { ...args };
    for (const [property, fallback] of defaults) {
      if (!Object.hasOwn(value, property)) setOwn(value, property, structuredClone(fallback));
    }
    const issues = problems(value);
    return issues.length > 0 ? { issues } : { value };
  };
}

function compiled(name: string, schema: JsonSchema): ReturnType<typeof compileSchema> {
  try {
    return compileSchema(schema);
  } catch (error) {
    throw new ValidationError(`tool ${name}: ${(error as Error).message}`);
  }
}

const NO_ARGUMENTS: JsonSchema = { type: "object", properties: {}, additionalProperties: false };

function objectOf(name: string, schema: JsonSchema): Record<string, unknown> {
  const { type = "object", properties = {} } = schema;
  if (type !== "object" || typeof properties !== "object" || properties === null) {
    throw new ValidationError(`tool ${name}: its input must describe an object, whose properties are the arguments`);
  }
  return properties as Record<string, unknown>;
}

function argumentsOf(schema: JsonSchema, properties: Record<string, unknown>): ArgumentSpec[] {
  const required = new Set(Array.isArray(schema.required) ? schema.required : []);
  return Object.entries(properties).map(([name, facts]) => {
    const { description, default: fallback } = (facts ?? {}) as { description?: unknown; default?: unknown };
    return create(ArgumentSpecSchema, {
      name,
      required: required.has(name),
      description: typeof description === "string" ? description : "",
      ...(fallback === undefined ? {} : { defaultValue: serializeValue(fallback) }),
    });
  });
}

function isGenerator(run: unknown): boolean {
  const kind = Object.prototype.toString.call(run);
  return kind === "[object AsyncGeneratorFunction]" || kind === "[object GeneratorFunction]";
}
