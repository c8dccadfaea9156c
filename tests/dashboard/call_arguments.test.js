// Arguments by name and by position.

import assert from "node:assert/strict";
import { test } from "node:test";

import { formSchema, joinArguments, splitArguments } from "../../src/grpc_tool_bridge/gateway/dashboard/call_arguments.js";

const argument = (name, ...kinds) => ({ name, description: "", ...(kinds.length && { validation: { custom_rules: kinds } }) });
const PLAIN = { arguments: [argument("a"), argument("b"), argument("c", "keyword-only")] };
const STARRED = {
  arguments: [
    argument("a"),
    { ...argument("b"), default_value: "x" },
    argument("rest", "var-positional"),
    argument("only", "keyword-only"),
  ],
};

test("arguments by position get their names", () => {
  assert.deepEqual(joinArguments({ "*": [1, 2], c: 3 }, PLAIN), { a: 1, b: 2, c: 3 });
  assert.deepEqual(joinArguments([1], PLAIN), { a: 1 });
  assert.deepEqual(joinArguments([1, 2, 3], STARRED), { a: 1, b: 2, "*rest": [3] });
  assert.deepEqual(joinArguments({ a: 1, "*rest": [3] }, STARRED), { a: 1, "*rest": [3] });
});

test("arguments that have no names stay what they are", () => {
  assert.deepEqual(joinArguments([1, 2, 3], PLAIN), { a: 1, b: 2, "*": [3] });
  for (const nonsense of [5, "text", null, { $type: "int", value: "1" }]) assert.deepEqual(joinArguments(nonsense, PLAIN), {});
});

test("what comes before arguments without names is given by position too", () => {
  assert.deepEqual(splitArguments({ a: 1, only: true, "*rest": [3, 4] }, STARRED), {
    args: [1, "x", 3, 4],
    kwargs: { only: true },
  });
  assert.deepEqual(splitArguments({ a: 1, "*rest": [] }, STARRED), { args: [], kwargs: { a: 1 } });
  assert.deepEqual(splitArguments({ a: 1 }, PLAIN), { args: [], kwargs: { a: 1 } });
});

test("a form asks for arguments without names, and has defaults that are exact", () => {
  const spec = {
    arguments: [
      { ...argument("big"), default_value: { $type: "int", value: "9007199254740993" } },
      argument("rest", "var-positional"),
    ],
  };
  const { properties } = formSchema(
    { type: "object", properties: { big: { type: "integer", default: 9007199254740992 } } },
    spec,
  );
  assert.deepEqual(properties.big.default, { $type: "int", value: "9007199254740993" });
  assert.equal(properties["*rest"].type, "array");
});

test("an argument that is called * is one of the tool's", () => {
  const spec = { arguments: [argument("*")] };
  assert.deepEqual(joinArguments({ "*": [1] }, spec), { "*": [1] });
  assert.deepEqual(splitArguments({ "*": [1] }, spec), { args: [], kwargs: { "*": [1] } });
});
