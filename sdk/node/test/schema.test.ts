import assert from "node:assert/strict";
import { test } from "node:test";
import { ValidationError } from "../src/index.js";
import { compileSchema } from "../src/worker/jsonschema.js";
import { problemsOf } from "../src/worker/schema.js";

const NODE = {
  type: "object",
  properties: {
    name: { type: "string", pattern: "^[a-z]+$" },
    children: { type: "array", items: { $ref: "#" }, maxItems: 2 },
  },
  required: ["name"],
  additionalProperties: false,
};

const CASES: [schema: object, value: unknown, problems: Record<string, string>][] = [
  [{ type: "integer" }, 3, {}],
  [{ type: "integer" }, 2n ** 70n, {}],
  [{ type: "integer" }, 3.5, { arguments: "must be of type integer, not 3.5" }],
  [{ type: ["string", "null"] }, null, {}],
  [{ type: ["string", "null"] }, 1, { arguments: "must be of type string or null, not 1" }],
  [{ enum: ["a", 1] }, 1n, {}],
  [{ const: { a: [1] } }, { a: [1] }, {}],
  [{ const: "x" }, "y", { arguments: 'must be "x", not "y"' }],
  [{ minimum: 1, exclusiveMaximum: 3 }, 3, { arguments: "must be less than 3, not 3" }],
  [{ multipleOf: 2 }, 5, { arguments: "must be a multiple of 2, not 5" }],
  [{ minLength: 2 }, "😀", { arguments: "must have at least 2 characters, not 1" }],
  [
    { prefixItems: [{ type: "string" }], items: { type: "number" } },
    ["a", 1, "b"],
    { 2: 'must be of type number, not "b"' },
  ],
  [
    { anyOf: [{ type: "string", minLength: 1 }, { type: "null" }] },
    "",
    { arguments: "must have at least 1 characters, not 0" },
  ],
  [{ oneOf: [{ type: "number" }, { type: "integer" }] }, 1, { arguments: "must fit exactly one of several schemas" }],
  [{ not: { type: "string" } }, "x", { arguments: "must not fit schemas" }],
  [{ allOf: [{ minimum: 1 }, { maximum: 2 }] }, 3, { arguments: "must be at most 2, not 3" }],
  [
    { patternProperties: { "^x": { type: "number" } }, additionalProperties: false },
    { xa: 1, b: 1 },
    { b: "is not allowed" },
  ],
  [NODE, { name: "a", children: [{ name: "b" }] }, {}],
  [
    NODE,
    { name: "a", children: [{ name: "B", other: 1 }, {}] },
    {
      "children.0.name": "must match ^[a-z]+$",
      "children.0.other": "is not allowed",
      "children.1.name": "missing",
    },
  ],
  [{ type: "object" }, new Map([["a", 1]]), {}],
  [{ type: "object", format: "unknown", title: "only told" }, {}, {}],
];

test("a value fits its schema, or each thing that is wrong is named", () => {
  for (const [schema, value, problems] of CASES) {
    assert.deepEqual(problemsOf(compileSchema(schema as never)(value)), problems);
  }
});

test("a schema that cannot be used is refused when it is compiled", () => {
  for (const schema of [
    { type: "text" },
    { pattern: "(" },
    { $ref: "#/nowhere" },
    { $ref: "other.json" },
    { items: 7 },
  ]) {
    assert.throws(() => compileSchema(schema as never), ValidationError);
  }
});
