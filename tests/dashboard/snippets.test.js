// The same call elsewhere. That these run, and do the same, is tested with a hub.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";

import { commandLine, curl, python, shellWord } from "../../src/grpc_tool_bridge/gateway/dashboard/snippets.js";

const CALL = {
  origin: "http://hub:8080",
  address: "hub:50051",
  needsToken: false,
  tls: false,
  session: "s",
  makesSession: false,
  tool: "t",
  args: [],
  kwargs: {},
  streams: false,
  timeoutMs: null,
  key: "",
  schema: { type: "object" },
  spec: { arguments: [] },
};

test("a shell reads a word as it was", () => {
  for (const word of [
    "plain",
    "",
    "it's",
    "a b",
    "$HOME `id` $(id)",
    '"',
    "\\",
    "!x",
    "*",
    "~",
    "line\nbreak",
    "-n",
    "''",
    "ü",
    "a=b",
    "#x",
    "{a,b}",
  ]) {
    assert.equal(execFileSync("/bin/sh", ["-c", `printf '%s.' ${shellWord(word)}`]).toString(), `${word}.`);
  }
});

test("names are encoded in addresses", () => {
  assert.match(curl({ ...CALL, session: "a/b", tool: "c d?" }), /\/api\/sessions\/a%2Fb\/tools\/c%20d%3F\/execute /);
});

test("a token is named, and never written", () => {
  for (const snippet of [curl, python, commandLine]) {
    const text = snippet({ ...CALL, needsToken: true });
    assert.match(text, /TOOL_BRIDGE_TOKEN/);
    assert.doesNotMatch(snippet(CALL), /TOKEN/);
  }
});

test("values are Python's literals, of the types that the schema names", () => {
  const schema = {
    type: "object",
    properties: {
      day: { type: "string", format: "date" },
      at: { anyOf: [{ type: "string", format: "date-time" }, { type: "null" }] },
      days: { type: "array", items: { type: "string", format: "date" } },
      id: { type: "string", format: "uuid" },
    },
  };
  const kwargs = {
    day: "2026-01-02",
    at: "2026-01-02T03:04:05Z",
    days: ["2026-01-02"],
    id: "123e4567-e89b-12d3-a456-426614174000",
    none: null,
    yes: true,
    big: { $type: "int", value: "9007199254740993" },
    nan: { $type: "float", value: "nan" },
    one: { $type: "float", value: "1.0" },
    raw: { $type: "bytes", value: "AAE=" },
    text: { $type: "bytes", value: "YWJj" },
    pair: { $type: "tuple", value: [1] },
    "not a name": 1,
    class: 2,
    price: "1.50",
  };
  const text = python({ ...CALL, schema, kwargs, spec: { arguments: [{ name: "price", python_type: "Decimal" }] } });
  for (const part of [
    "day=datetime.date(2026, 1, 2)",
    'at=datetime.datetime.fromisoformat("2026-01-02T03:04:05Z")',
    "days=[datetime.date(2026, 1, 2)]",
    'id=uuid.UUID("123e',
    "none=None",
    "yes=True",
    "big=9007199254740993",
    'nan=float("nan")',
    "one=1.0",
    'raw=base64.b64decode("AAE=")',
    'text=b"abc"',
    "pair=(1,)",
    '**{"not a name": 1, "class": 2}',
    'price=decimal.Decimal("1.50")',
    "import asyncio\nimport base64\nimport datetime\nimport decimal\nimport uuid\n",
  ])
    assert.ok(text.includes(part), `${part} in\n${text}`);
});

test("the command gets a text as it is where only a text can stand, and JSON elsewhere", () => {
  const schema = {
    type: "object",
    properties: {
      text: { type: "string" },
      either: { anyOf: [{ type: "string" }, { type: "integer" }] },
      count: { type: "integer" },
    },
  };
  const line = (kwargs) => commandLine({ ...CALL, schema, kwargs });
  assert.match(line({ text: "5" }), /--kwarg text=5 /);
  assert.match(line({ either: "5" }), /--kwarg 'either="5"' /);
  assert.match(
    line({ count: { $type: "int", value: "9007199254740993" } }),
    /--kwarg 'count=\{"\$type":"int","value":"9007199254740993"\}' /,
  );
  // By itself a minus stands for what is read from stdin.
  assert.match(line({ text: "-" }), /^printf %s '"-"' \| grpc-tool-bridge call .*--kwarg text=- /);
  assert.match(line({ text: "-", more: "-" }), /--kwarg 'more="-"'/);
});

test("what a command line cannot hold is said", () => {
  assert.match(commandLine({ ...CALL, kwargs: { "a=b": 1 } }), /cannot be written/);
});

test("what stands in an address becomes no code", () => {
  const code = "0)\n    import os; os.system('id') #";
  for (const $type of ["int", "float", "bytes", "date", "timedelta", "complex", "set", "dict", "Decimal", code, "Frame"]) {
    for (const value of [code, [code], { a: code }]) {
      const text = python({ ...CALL, kwargs: { x: { $type, value }, y: 1 } });
      assert.match(text, /y=1\b/);
      // Python reads all of it as one call, and runs none of it.
      const check = "import ast, sys; print(*(type(part).__name__ for part in ast.parse(sys.stdin.read()).body))";
      const parts = execFileSync("python3", ["-c", check], { input: text }).toString().trim().replace(/^(Import )+/, "");
      assert.equal(parts, "ImportFrom AsyncFunctionDef Expr");
      assert.doesNotMatch(text, /^\s*import os;/m);
    }
  }
});

test("what a terminal would take for keys is in no command", () => {
  for (const sign of ["\u001b[201~\nid\n", "\u0003", "\u202e", "\u0085"]) {
    assert.match(commandLine({ ...CALL, tool: `t${sign}` }), /^# .*cannot be written/);
    assert.match(commandLine({ ...CALL, kwargs: { [`a${sign}`]: 1 } }), /^# .*cannot be written/);
    const text = { type: "object", properties: { a: { type: "string" } } };
    assert.ok(!commandLine({ ...CALL, schema: text, kwargs: { a: `a${sign}` } }).includes("\u001b"));
  }
});
