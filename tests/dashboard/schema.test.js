// What a schema asks for, and values as a form writes them.

import assert from "node:assert/strict";
import { test } from "node:test";

import {
  fits,
  numberOf,
  problemOfBytes,
  problemOfNumber,
  problemOfText,
  problemsOf,
  resolve,
  restOf,
  shapeOf,
  textOf,
  typeName,
  untagged,
  variantOf,
} from "../../src/grpc_tool_bridge/gateway/dashboard/schema.js";

const int = (digits) => ({ $type: "int", value: digits });
const kindOf = (schema, root = schema) => shapeOf(schema, root).kind;

test("a schema is of one kind, whichever way it says so", () => {
  assert.equal(kindOf({ type: "string" }), "text");
  assert.equal(kindOf({ type: "string", contentEncoding: "base64" }), "bytes");
  assert.equal(kindOf({ enum: [1, "a", null] }), "enum");
  assert.equal(kindOf({ const: false, type: "boolean" }), "const");
  assert.equal(kindOf({ type: ["string", "null"] }), "union");
  assert.equal(kindOf({ type: ["string"] }), "text");
  assert.equal(kindOf({ anyOf: [{ type: "integer" }] }), "integer");
  assert.equal(kindOf({ properties: {} }), "object");
  assert.equal(kindOf({ items: {} }), "array");
  for (const anything of [{}, true, null, "text", { description: "any" }, { $ref: "#/nowhere" }])
    assert.equal(kindOf(anything), "json");
});

test("references are followed, and one that refers to itself is anything", () => {
  const root = {
    $defs: { "a/b": { type: "integer", minimum: 1 }, loop: { $ref: "#/$defs/loop" }, all: { allOf: [{ $ref: "#/$defs/all" }] } },
  };
  assert.deepEqual(resolve({ $ref: "#/$defs/a~1b", default: 3 }, root), { type: "integer", minimum: 1, default: 3 });
  assert.equal(kindOf({ $ref: "#/$defs/loop" }, root), "json");
  assert.equal(kindOf({ $ref: "#/$defs/all" }, root), "json");
  assert.equal(kindOf({ $ref: "#/$defs/__proto__" }, root), "json");
});

test("a recursive schema is named and checked as far as its values go", () => {
  const root = {
    $defs: {
      Node: {
        title: "Node",
        type: "object",
        properties: { next: { $ref: "#/$defs/Node" }, all: { type: "array", items: { $ref: "#/$defs/Node" } } },
      },
    },
  };
  const node = { $ref: "#/$defs/Node" };
  assert.equal(typeName(node, root), "Node");
  assert.equal(typeName({ type: "array", items: node }, root), "list of Node");
  assert.ok(fits({ next: { next: { all: [{}] } } }, node, root));
  assert.ok(!fits({ next: { all: [1] } }, node, root));
  const lists = { $defs: { Lists: { type: "array", items: { $ref: "#/$defs/Lists" } } } };
  assert.equal(typeName({ $ref: "#/$defs/Lists" }, lists), "list of list of list of list");
});

test("allOf puts properties and what is required together", () => {
  const schema = resolve(
    {
      allOf: [
        { properties: { a: {} }, required: ["a"] },
        { properties: { b: {} }, required: ["b"] },
      ],
      title: "Both",
    },
    {},
  );
  assert.deepEqual(schema, { properties: { a: {}, b: {} }, required: ["a", "b"], title: "Both" });
});

test("conditions on the names of an object make no variants of it", () => {
  const schema = { type: "object", properties: { a: {}, b: {} }, anyOf: [{ required: ["a"] }, { required: ["b"] }] };
  assert.equal(kindOf(schema), "object");
});

test("the variant is found that a value is of, by its constants too", () => {
  const pets = ["cat", "dog"].map((kind) => ({
    type: "object",
    properties: { kind: { const: kind }, lives: { type: "integer" } },
    required: ["kind"],
  }));
  assert.equal(variantOf({ kind: "dog", lives: 1 }, pets, {}), 1);
  // Not of that schema in one place, which its form shows.
  assert.equal(variantOf({ kind: "dog", lives: "many" }, pets, {}), 1);
  assert.equal(variantOf({ kind: "cow" }, pets, {}), -1);
  assert.equal(variantOf(null, [{ type: "integer" }, { type: "null" }], {}), 1);
  assert.equal(variantOf("1.50", [{ type: "integer" }, { type: "string" }], {}), 1);
  assert.equal(variantOf("abc", [{ type: "integer" }, { type: "null" }], {}), 0);
});

test("any integer is exact, and what is no number stays what was typed", () => {
  assert.equal(numberOf(" 42 ", "integer"), 42);
  assert.equal(numberOf("+5", "integer"), 5);
  assert.ok(Object.is(numberOf("-0", "integer"), 0));
  assert.deepEqual(numberOf("9007199254740993", "integer"), int("9007199254740993"));
  assert.deepEqual(numberOf("-0009007199254740993", "number"), int("-9007199254740993"));
  assert.equal(numberOf("1.5e3", "number"), 1500);
  for (const [text, kind] of [
    ["1.5", "integer"],
    ["0x10", "integer"],
    ["", "integer"],
    ["1e999", "number"],
    ["1,5", "number"],
    ["constructor", "number"],
  ]) {
    assert.equal(numberOf(text, kind), text);
  }
  assert.deepEqual(numberOf("NaN", "number"), { $type: "float", value: "nan" });
  assert.deepEqual(numberOf("-Infinity", "number"), { $type: "float", value: "-inf" });
});

test("what a field shows is read again as the same value", () => {
  for (const value of [0, -7, 2 ** 53 - 1, int("123456789012345678901234567890")])
    assert.deepEqual(numberOf(textOf(value, "integer"), "integer"), value);
  for (const value of [1.5, -1e-9, 1e300, 3, int("9007199254740993"), { $type: "float", value: "nan" }])
    assert.deepEqual(numberOf(textOf(value, "number"), "number"), value);
});

test("a value that a field would change is not shown in it", () => {
  for (const [value, kind] of [
    [1.5, "integer"],
    [null, "text"],
    [5, "text"],
    [true, "number"],
    [{ $type: "float", value: "nan" }, "integer"],
    [{ $type: "datetime", value: { iso: "x" } }, "text"],
  ]) {
    assert.equal(textOf(value, kind), null);
  }
  assert.equal(textOf({ $type: "date", value: "2026-01-02" }, "text"), "2026-01-02");
  assert.deepEqual(untagged({ $type: "set", value: [1] }, "array"), [1]);
  assert.deepEqual(untagged({ $type: "set", value: [1] }, "text"), { $type: "set", value: [1] });
});

test("what is wrong with a text is said", () => {
  assert.equal(problemOfText("", {}), "");
  assert.match(problemOfText("a", { minLength: 2 }), /At least 2 characters; these are 1/);
  // Characters, not units of UTF-16.
  assert.equal(problemOfText("🙂🙂", { maxLength: 2 }), "");
  assert.match(problemOfText("🙂🙂🙂", { maxLength: 2 }), /At most 2/);
  assert.match(problemOfText("b", { pattern: "^a+$" }), /must match/);
  // A pattern of Python's, which a browser cannot read.
  assert.equal(problemOfText("b", { pattern: "(?P<x>a)" }), "");
  assert.match(problemOfText("yesterday", { format: "date" }), /2026-01-31/);
  for (const moment of ["2026-01-31T10:00:00Z", "2026-01-31 10:00:00.123456+02:00", "2026-01-31T10:00"])
    assert.equal(problemOfText(moment, { format: "date-time" }), "");
  assert.match(problemOfText("x", { format: "uuid" }), /UUID/);
  assert.equal(problemOfText("x", { format: "constructor" }), "");
});

test("what is wrong with a number or with base64 is said", () => {
  assert.match(problemOfNumber("x", "integer", {}), /whole number/);
  assert.match(problemOfNumber("0", "integer", { minimum: 1 }), /At least 1/);
  assert.match(problemOfNumber("9007199254740993", "integer", { maximum: 10 }), /At most 10/);
  assert.match(problemOfNumber("1", "number", { exclusiveMaximum: 1 }), /Less than 1/);
  assert.match(problemOfNumber("3", "integer", { multipleOf: 2 }), /multiple of 2/);
  assert.equal(problemOfNumber("nan", "number", { minimum: 1 }), "");
  assert.equal(problemOfBytes(""), "");
  assert.equal(problemOfBytes("AA E=\n"), "");
  assert.match(problemOfBytes("AAE"), /base64/);
});

test("what the hub finds wrong is split into places", () => {
  assert.deepEqual(problemsOf("missing"), [[[], "missing"]]);
  assert.deepEqual(problemsOf(".name should be a text; .days[2].at is missing"), [
    [["name"], "should be a text"],
    [["days", 2, "at"], "is missing"],
  ]);
  assert.deepEqual(problemsOf("should be 'a; b' or 'c'"), [[[], "should be 'a; b' or 'c'"]]);
});

test("names of objects are only names", () => {
  const made = Object.fromEntries([
    ["__proto__", 1],
    ["constructor", 2],
  ]);
  assert.deepEqual(Object.entries(made), [
    ["__proto__", 1],
    ["constructor", 2],
  ]);
  const schema = { type: "object", properties: JSON.parse('{"__proto__": {"type": "integer"}}'), required: ["__proto__"] };
  assert.ok(!fits({}, schema, {}));
  assert.ok(fits(JSON.parse('{"__proto__": 1}'), schema, {}));
});

test("further names are asked for only where the schema speaks of them", () => {
  assert.equal(restOf({ properties: {}, additionalProperties: false }), null);
  assert.equal(restOf({ properties: {} }), null);
  assert.deepEqual(restOf({}), {});
  assert.deepEqual(restOf({ properties: {}, additionalProperties: true }), {});
  assert.deepEqual(restOf({ additionalProperties: { type: "integer" } }), { type: "integer" });
});

test("a schema that has one part in very many ways, or is made of itself, takes no time", () => {
  const $defs = { end: { type: "integer" }, loop: { anyOf: [{ $ref: "#/$defs/loop" }] } };
  for (const [keyword, prefix] of [
    ["allOf", "all"],
    ["anyOf", "any"],
  ]) {
    for (let level = 0; level < 60; level++) {
      const next = { $ref: `#/$defs/${level ? `${prefix}${level - 1}` : "end"}` };
      $defs[`${prefix}${level}`] = { [keyword]: [next, { ...next }] };
    }
  }
  const root = { $defs };
  assert.equal(kindOf({ $ref: "#/$defs/all59" }, root), "integer");
  assert.equal(kindOf({ $ref: "#/$defs/any59" }, root), "union");
  assert.equal(kindOf({ $ref: "#/$defs/loop" }, root), "json");
  assert.ok(!fits("text", { $ref: "#/$defs/any59" }, root));
  assert.equal(typeof typeName({ $ref: "#/$defs/any59" }, root), "string");
});

test("a schema that only refers to itself, or to very many others, is looked at for a while only", () => {
  const many = (count) => Array.from({ length: count }, () => ({ $ref: "#/$defs/a" }));
  const cyclic = { $defs: { a: { anyOf: many(150) } }, $ref: "#/$defs/a" };
  assert.match(typeName(cyclic, cyclic), /…$/);
  assert.equal(typeof fits({ a: 1 }, cyclic, cyclic), "boolean");
  assert.equal(typeof variantOf({ a: 1 }, shapeOf(cyclic, cyclic).variants, cyclic), "number");
  const typed = { $defs: { a: { type: ["object", "array", "string"], anyOf: many(3) } }, $ref: "#/$defs/a" };
  assert.equal(typeof fits("text", typed, typed), "boolean");
  const chain = { $defs: Object.fromEntries(Array.from({ length: 20_000 }, (_, at) => [at, { $ref: `#/$defs/${at + 1}` }])), $ref: "#/$defs/0" };
  assert.equal(kindOf(chain), "json");
  const slow = { anyOf: Array.from({ length: 200 }, (_, at) => ({ type: "string", pattern: `^(a*)(a*)(a*)b{${at + 1}}$` })) };
  assert.equal(fits("a".repeat(60), slow, slow), false);
});

test("a value may be nested deeply", () => {
  const list = { type: "array", items: { $ref: "#" } };
  let value = [];
  for (let level = 0; level < 2_000; level++) value = [value];
  assert.equal(fits(value, list, list), false);
});

test("large content is checked", () => {
  assert.equal(problemOfBytes("abcd".repeat(5_000_000)), "");
  assert.notEqual(problemOfBytes(`${"abcd".repeat(5_000_000)}=`), "");
  assert.equal(problemOfText("\u{1f600}".repeat(2_000_000), { maxLength: 2_000_000 }), "");
});

test("an object of very many names is written as JSON", () => {
  const properties = Object.fromEntries(Array.from({ length: 10_000 }, (_, at) => [`a${at}`, {}]));
  assert.equal(kindOf({ type: "object", properties }), "json");
  assert.equal(kindOf({ properties }), "json");
  assert.equal(kindOf({ anyOf: Array.from({ length: 5_000 }, () => ({ type: "string" })) }), "json");
});
