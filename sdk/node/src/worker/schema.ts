/** The schemas of a tool: JSON Schema, or a library that speaks Standard Schema, such as Zod. */
import { ValidationError } from "../errors.js";
import { describe } from "../texts.js";

/** A JSON Schema, as an object. */
export type JsonSchema = Readonly<Record<string, unknown>>;

/** What is used of a schema of Zod and of other libraries that speak Standard Schema (standardschema.dev). */
export interface StandardSchema<Input = unknown, Output = Input> {
  readonly "~standard": {
    readonly validate: (value: unknown) => StandardResult<Output> | Promise<StandardResult<Output>>;
    readonly jsonSchema?: {
      readonly input: (options: { target: "draft-2020-12" }) => Record<string, unknown>;
      readonly output: (options: { target: "draft-2020-12" }) => Record<string, unknown>;
    };
    readonly types?: { readonly input: Input; readonly output: Output } | undefined;
  };
}

/** The outcome of a validation. */
export type StandardResult<Output> =
  | { readonly value: Output; readonly issues?: undefined }
  | { readonly issues: readonly StandardIssue[] };

/** What is wrong with a value. */
export interface StandardIssue {
  readonly message: string;
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined;
}

/** What a tool's schema may be. */
export type ToolSchema = JsonSchema | StandardSchema;

/** The values that a schema describes, after validation. */
export type OutputOf<S> = S extends {
  readonly "~standard": { readonly types?: { readonly output: infer Output } | undefined };
}
  ? Output
  : Record<string, unknown>;

/** Whether a schema validates by itself. */
export function isStandard(schema: ToolSchema): schema is StandardSchema {
  return typeof schema === "object" && "~standard" in schema;
}

/**
 * Returns the JSON Schema of a schema.
 *
 * @throws ValidationError if its library cannot write it.
 */
export function jsonSchemaOf(tool: string, schema: ToolSchema, side: "input" | "output"): JsonSchema {
  if (typeof schema !== "object" || schema === null) {
    throw new ValidationError(
      `tool ${tool}: its ${side} must be a Zod schema or a JSON Schema, not ${describe(schema)}`,
    );
  }
  if (!isStandard(schema)) return schema;
  const writer = schema["~standard"].jsonSchema;
  if (!writer) {
    throw new ValidationError(
      `tool ${tool}: the library of its ${side} schema cannot write JSON Schema; use Zod 4.2 or later, or a JSON Schema`,
    );
  }
  try {
    return writer[side]({ target: "draft-2020-12" });
  } catch (error) {
    throw new ValidationError(`tool ${tool}: its ${side} has no JSON Schema: ${(error as Error).message}`, {
      cause: error,
    });
  }
}

/** Returns a text for each thing that is wrong, by the name of the argument. */
export function problemsOf(issues: readonly StandardIssue[]): Record<string, string> {
  const problems: Record<string, string> = {};
  for (const { message, path = [] } of issues) {
    const where = path.map((step) => String(typeof step === "object" ? step.key : step)).join(".") || "arguments";
    problems[where] = where in problems ? `${problems[where]}; ${message}` : message;
  }
  return problems;
}
