// JSON without a digit lost.

import assert from "node:assert/strict";
import { test } from "node:test";

import { parseExact } from "../../src/grpc_tool_bridge/gateway/dashboard/raw_json.js";

test("numbers that a browser would change are tagged, and nothing else is", () => {
  assert.deepEqual(parseExact('{"a": 9007199254740993, "b": [1, -2.5, 1e2], "c": 1.0}'), {
    a: { $type: "int", value: "9007199254740993" },
    b: [1, -2.5, { $type: "float", value: "1e2" }],
    c: { $type: "float", value: "1.0" },
  });
  assert.deepEqual(parseExact("-1e400"), { $type: "float", value: "-1e400" });
});

test("digits in a text or a name stay text", () => {
  const text = String.raw`{"9007199254740993": "say \"9007199254740993\" \\", "\\": "1.0"}`;
  assert.deepEqual(parseExact(text), JSON.parse(text));
});

test("what is not JSON is refused as it was written", () => {
  for (const text of ["", "{", "[1,]", "NaN", "9007199254740993x", "'a'", '{"a": 01}'])
    assert.throws(() => parseExact(text), SyntaxError);
});

test("a text may be as long as a browser holds", () => {
  const value = { text: '\\"'.repeat(4_000_000), whole: 3 };
  assert.deepEqual(parseExact(JSON.stringify(value)), value);
});
