import assert from "node:assert/strict";
import { test } from "node:test";

import { arranged, member, oneLineOf } from "../../src/grpc_tool_bridge/gateway/dashboard/raw_json.js";

test("a member is found as it was written, wherever it stands and whatever it is", () => {
  for (const value of [
    "3.0",
    "1e400",
    '"a, b: {c} \\" ]"',
    "[1, [2.50]]",
    '{"value": {"value": 1}}',
    "null",
    "{}",
    "[]",
    "18446744073709551616",
  ]) {
    assert.equal(member(`{"value":${value}}`, "value"), value);
    assert.equal(member(`{"name":"value","value":${value},"revision":7}`, "value"), value);
    assert.equal(member(`{"a":{"value":1},"b":[{"value":2}],"value": ${value} }`, "value"), value);
  }
});

test("a text that looks like a name is none", () => {
  assert.equal(member('{"a":"value","b":["value"],"c":{"value":1}}', "value"), null);
  assert.equal(member("{}", "value"), null);
  assert.equal(member('{"v\\u0061lue":1}', "value"), "1");
  assert.equal(member('{"__proto__":1.0}', "__proto__"), "1.0");
});

test("JSON is arranged as by JSON.stringify where that changes no number", () => {
  for (const value of [1, "a\n\u00fc\u{1f600}", [], {}, [[], {}], { a: [1, { b: null, "c d": [true] }], "": "" }]) {
    for (const text of [JSON.stringify(value), JSON.stringify(value, null, 3)]) {
      assert.equal(arranged(text), JSON.stringify(value, null, 2));
    }
  }
});

test("numbers keep their digits, and texts lose needless escapes", () => {
  assert.equal(
    arranged('{"a":1.0,"b":1E5,"c":-0.0,"d":123456789012345678901}', false),
    '{"a": 1.0, "b": 1E5, "c": -0.0, "d": 123456789012345678901}',
  );
  assert.equal(arranged('"K\\u00f6ln \\u202e\\ud83d\\ude00"'), '"Köln \u202e😀"');
});

test("the beginning of a value is one line, whichever sign it is cut at", () => {
  const text = JSON.stringify({ text: 'a b "c" \\ \u00fc'.repeat(100), list: [1, 2] }).replaceAll("\u00fc", "\\u00fc");
  for (let most = 1; most < 60; most++) {
    const line = oneLineOf(text, most);
    assert.equal([...line].length, most + 1);
    assert.ok(line.endsWith("…"));
    assert.ok(!line.includes("\n"));
  }
  assert.equal(oneLineOf("[1,2]"), "[1, 2]");
  assert.equal(oneLineOf(`"${"a b ".repeat(1_000)}"`, 8), '"a b a b…');
});

test("a text may be as long as a browser holds", () => {
  for (const part of ["a", "\\", '"', "\n", "ü"]) {
    const value = part.repeat(8_000_000);
    const text = JSON.stringify({ before: '\\"', value, after: 1 });
    assert.equal(member(text, "value"), JSON.stringify(value));
    assert.equal(member(text, "after"), "1");
    assert.equal(arranged(JSON.stringify(value)), JSON.stringify(value));
  }
});
