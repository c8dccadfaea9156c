import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { z } from "zod";
import {
  AlreadyExistsError,
  type Client,
  connect,
  type Session,
  type ToolContext,
  ToolExecutionError,
  Tuple,
  tool,
  ValidationError,
  Worker,
} from "../src/index.js";
import { collect } from "./support/collect.js";
import { Gate } from "./support/gate.js";
import { Hub, PATIENCE } from "./support/hub.js";

let hub: Hub;
let client: Client;
let session: Session;
let worker: Worker;

/** Opened when a tool that hangs has begun, and when it was told to stop. */
const begun = new Gate<ToolContext>();
const stopped = new Gate<unknown>();

class TeapotError extends Error {
  override name = "TeapotError";
}

const tools = [
  tool({
    name: "js_add",
    description: "Adds two numbers.",
    input: z.object({ a: z.number().describe("the first"), b: z.number().default(10) }),
    output: z.number(),
    run: ({ a, b }) => a + b,
  }),
  tool({
    name: "js_greet",
    input: {
      type: "object",
      properties: { name: { type: "string", minLength: 2 } },
      required: ["name"],
      additionalProperties: false,
    },
    run: async ({ name }) => `hello ${String(name)}`,
  }),
  tool({
    name: "js_count",
    input: z.object({ n: z.int() }),
    async *run({ n }, { progress }) {
      for (let number = 0; number < n; number++) yield number;
      void progress;
    },
  }),
  tool({
    name: "js_fail",
    run: () => {
      throw new TeapotError("short and stout", { cause: new RangeError("tip") });
    },
  }),
  tool({ name: "js_throw", run: () => Promise.reject("a text") }),
  tool({ name: "js_echo", input: { type: "object", properties: { value: {} } }, run: ({ value }) => value }),
  tool({ name: "js_unsendable", run: () => () => 1 }),
  tool({ name: "js_nothing", run: () => undefined }),
  tool({
    name: "js_hang",
    async run(_, context) {
      context.signal.addEventListener("abort", () => stopped.open(context.signal.reason));
      begun.open(context);
      // It does not heed its signal.
      await new Promise(() => undefined);
    },
  }),
  tool({
    name: "js_nested",
    input: z.object({ a: z.int() }),
    async run({ a }, context) {
      await context.variables.set("seen", a);
      const sum = await context.call<number>("add", { a, b: await context.variables.get<number>("seen") });
      const counted = await collect(context.stream<number>("count_up", { n: 2 }));
      const [batched] = await context.batch([{ tool: "add", args: [1, 1] }]);
      return {
        sum,
        counted,
        batched: batched?.status === "fulfilled" ? batched.value : null,
        inTime: context.timeLeft > 0,
      };
    },
  }),
  tool({
    name: "js_report",
    async *run(_, context) {
      context.progress(1, { total: 2, message: "half" });
      context.log("a line", { level: "warning", fields: { place: "there" } });
      yield context.metadata.get("trace") ?? "";
    },
  }),
  tool({
    name: "js_endless",
    async *run(_, context) {
      let number = 0;
      try {
        for (;;) {
          number++;
          yield new Uint8Array(65_536);
        }
      } finally {
        stopped.open([number, context.signal.aborted]);
      }
    },
  }),
  tool({
    name: "js_chatty",
    async *run(_, context) {
      let reports = 0;
      const timer = setInterval(() => context.progress(++reports, { message: "x".repeat(10_000) }), 1);
      try {
        for (let number = 0; number < 30; number++) yield new Uint8Array(1_000_000);
      } finally {
        clearInterval(timer);
      }
    },
  }),
  tool({
    name: "js_yields_nothing_good",
    async *run() {
      try {
        yield () => 1;
      } finally {
        stopped.open("closed");
      }
    },
  }),
  tool({
    name: "js_large",
    async *run() {
      for (let number = 0; number < 4; number++) yield new Uint8Array(3_000_000).fill(number);
    },
  }),
  tool({
    name: "js_ask",
    run: (_, context) =>
      context.ask("who?", {
        type: "object",
        properties: { name: { type: "string", minLength: 2 } },
        required: ["name"],
      }),
  }),
  tool({
    name: "js_fail_later",
    async *run() {
      yield 1;
      throw new TeapotError("later");
    },
  }),
];

before(async () => {
  hub = await Hub.start();
  worker = await new Worker({ address: hub.address, tools }).start({ connectTimeoutMs: PATIENCE });
  client = await connect(hub.address);
  session = await client.session();
});

after(async () => {
  await client[Symbol.asyncDispose]();
  await worker.drain();
  await hub.kill();
});

test("a Python client calls a tool by name or by position, and gets defaults", async () => {
  assert.deepEqual(await hub.callFromPython("js_add", { kwargs: { a: 1, b: 2.5 } }), { ok: "3.5" });
  assert.deepEqual(await hub.callFromPython("js_add", { args: [1, 2] }), { ok: "3" });
  assert.deepEqual(await hub.callFromPython("js_add", { args: [1] }), { ok: "11" });
  assert.deepEqual(await hub.callFromPython("js_nothing"), { ok: "None" });
});

test("a Python client streams a tool that yields, or gets a list", async () => {
  assert.deepEqual(await hub.callFromPython("js_count", { kwargs: { n: 3 }, stream: true }), { ok: "[0, 1, 2]" });
  assert.deepEqual(await hub.callFromPython("js_count", { kwargs: { n: 3 } }), { ok: "[0, 1, 2]" });
  assert.deepEqual(await hub.callFromPython("js_add", { args: [1, 2], stream: true }), { ok: "[3]" });
});

test("an exception arrives in Python with its class, message, causes and stack", async () => {
  const { error } = await hub.callFromPython("js_fail");
  assert.equal(error?.type, "TeapotError");
  assert.equal(error.message, "short and stout\ncaused by RangeError: tip");
  assert.equal(error.details.origin, "tool");
  assert.match(error.stack, /worker\.test\.js/);
  const { error: thrown } = await hub.callFromPython("js_throw");
  assert.match(thrown!.message, /threw "a text", which is no Error/);
});

test("arguments are checked by the schema before the tool runs, and the error names each", async () => {
  const { error } = await hub.callFromPython("js_count", { kwargs: { n: 1.5 } });
  assert.equal(error?.type, "ValidationError");
  assert.match(error.message, /js_count: .*n/);
  const { error: short } = await hub.callFromPython("js_greet", { kwargs: { name: "x" } });
  assert.equal(short?.type, "ValidationError");
  const { error: unknown } = await hub.callFromPython("js_greet", { kwargs: { name: "xyz", other: 1 } });
  assert.equal(unknown?.type, "ValidationError");
  const { error: many } = await hub.callFromPython("js_add", { args: [1, 2, 3] });
  assert.equal(many?.type, "ValidationError");
});

test("a result that cannot be sent is an error that says what to send", async () => {
  await assert.rejects(session.call("js_unsendable"), { type: "SerializationError", message: /send plain data/ });
});

test("a value of Python goes through a tool and comes back as it was", async () => {
  const codes = ["(1, 2)", "{'b': 1, 'a': [None, True]}", "2**80", "b'x'", "datetime.timedelta(days=-1)", "{1: 2}"];
  for (const code of codes) {
    const value = await session.call("made", { code });
    const back = await session.call("js_echo", { value });
    assert.deepEqual(back, value);
    assert.equal(await session.call("show", { value: back }), await session.call("show", { value }));
  }
  assert.deepEqual(await session.call("js_echo", { value: Tuple.of(1, 2) }), Tuple.of(1, 2));
});

test("a tool that is cancelled is told, and its caller is answered even if it does not heed that", async () => {
  begun.reset();
  stopped.reset();
  const controller = new AbortController();
  const hanging = session.call("js_hang", {}, { signal: controller.signal });
  hanging.catch(() => undefined);
  await begun.passed();
  controller.abort();
  await assert.rejects(hanging, { name: "AbortError" });
  assert.equal(((await stopped.passed()) as Error).name, "CallCancelledError");
  assert.equal(await session.call("js_add", { a: 1 }), 11);
});

test("a tool past its deadline is told, and its caller gets a timeout at once", async () => {
  begun.reset();
  stopped.reset();
  const hanging = session.call("js_hang", {}, { timeoutMs: 50 });
  await assert.rejects(hanging, { name: "ToolTimeoutError", message: /deadline/ });
  assert.equal(((await stopped.passed()) as Error).name, "DeadlineExceededError");
});

test("a tool calls other tools and uses variables, within the call that it runs for", async () => {
  assert.deepEqual(await session.call("js_nested", { a: 20 }), { sum: 40, counted: [0, 1], batched: 2, inTime: true });
  assert.equal(await session.variables.get("seen"), 20);
});

test("a tool of Python calls one of Node.js, which calls one of Python", async () => {
  const result = await session.call<{ sum: number }>("call", { name: "js_nested", arguments: { a: 4 } });
  assert.equal(result.sum, 8);
});

test("an error of a nested call is the tool's own, with what went wrong", async () => {
  await assert.rejects(session.call("call", { name: "js_fail", arguments: {} }), (error) => {
    assert.ok(error instanceof ToolExecutionError);
    assert.equal(error.origin, "tool");
    return true;
  });
});

test("progress, log lines and metadata reach whom they are for", async () => {
  const told: unknown[] = [];
  const values = await collect(
    session.stream(
      "js_report",
      {},
      {
        metadata: { trace: "t1" },
        onProgress: ({ current, total, message }) => told.push([current, total, message]),
        onLog: ({ level, message, fields, logger }) => told.push([level, message, fields, logger]),
      },
    ),
  );
  assert.deepEqual(values, ["t1"]);
  assert.deepEqual(told, [
    [1, 2, "half"],
    ["warning", "a line", { place: "there" }, "js_report"],
  ]);
});

test("a stream waits for its reader, and ends when that leaves", async () => {
  stopped.reset();
  let size = 0;
  for await (const chunk of session.stream<Uint8Array>("js_endless")) {
    size += chunk.length;
    if (size > 2_000_000) break;
  }
  const [yielded, aborted] = (await stopped.passed()) as [number, boolean];
  assert.ok(yielded * 65_536 < size + 4_000_000, `${yielded} values`);
  assert.equal(aborted, true);
});

test("a stream of large values crosses in pieces", async () => {
  let expected = 0;
  for await (const chunk of session.stream<Uint8Array>("js_large")) {
    assert.deepEqual([chunk.length, chunk[0], chunk.at(-1)], [3_000_000, expected, expected]);
    expected++;
  }
  assert.equal(expected, 4);
});

test("a tool that reports all the time does not hold up its values", async () => {
  let reports = 0;
  let values = 0;
  for await (const _ of session.stream("js_chatty", {}, { onProgress: () => reports++ })) values++;
  assert.equal(values, 30);
  assert.ok(reports > 0);
});

test("a value that cannot be sent ends the stream, and closes its generator", async () => {
  stopped.reset();
  await assert.rejects(collect(session.stream("js_yields_nothing_good")), { type: "SerializationError" });
  assert.equal(await stopped.passed(), "closed");
});

test("a stream is left while it waits for a value, and its tool is told", async () => {
  begun.reset();
  stopped.reset();
  const values = session.stream("js_hang");
  const waiting = values.next();
  await begun.passed();
  await values.return();
  assert.deepEqual(await waiting, { done: true, value: undefined });
  assert.equal(((await stopped.passed()) as Error).name, "CallCancelledError");
});

test("a stream that fails has its values before its error", async () => {
  const values = session.stream("js_fail_later");
  assert.equal((await values.next()).value, 1);
  await assert.rejects(values.next(), { type: "TeapotError", message: "later" });
});

test("a batch runs calls of a worker's tools", async () => {
  const results = await session.batch([{ tool: "js_add", args: [1, 2] }, { tool: "js_fail" }]);
  assert.deepEqual(
    results.map(({ status }) => status),
    ["fulfilled", "rejected"],
  );
});

test("the hub knows a tool's description, schemas and arguments", async () => {
  const spec = (await session.tools()).find(({ name }) => name === "js_add")!;
  assert.equal(spec.description, "Adds two numbers.");
  assert.deepEqual(
    spec.arguments.map(({ name, required, description }) => [name, required, description]),
    [
      ["a", true, "the first"],
      ["b", false, ""],
    ],
  );
  assert.equal(JSON.parse(spec.outputSchema).type, "number");
});

test("tools of one session are seen only there", async () => {
  const mine = await client.session("only-here");
  const only = tool({ name: "js_only", run: () => 1 });
  await using itsWorker = new Worker({ address: hub.address, tools: [only], sessionId: "only-here" });
  await itsWorker.start();
  assert.equal(await mine.call("js_only"), 1);
  await assert.rejects(session.call("js_only"), { type: "ToolNotFound" });
});

test("a name that is taken is refused when the worker starts", async () => {
  const taken = new Worker({ address: hub.address, tools: [tool({ name: "add", run: () => 1 })] });
  await assert.rejects(taken.start(), AlreadyExistsError);
});

test("tools and options that cannot be used are refused at once", () => {
  assert.throws(() => tool({ name: "", run: () => 1 }), ValidationError);
  assert.throws(() => tool({ name: "x", run: 1 as never }), ValidationError);
  assert.throws(() => tool({ name: "x", input: { type: "array" }, run: () => 1 }), /must describe an object/);
  assert.throws(() => tool({ name: "x", input: z.object({ at: z.date() }), run: () => 1 }), /has no JSON Schema/);
  const one = tool({ name: "x", run: () => 1 });
  assert.throws(() => new Worker({ address: hub.address, tools: [one, one] }), AlreadyExistsError);
  assert.throws(() => new Worker({ address: hub.address, tools: [() => 1] as never }), /made by tool/);
  assert.throws(() => new Worker({ address: hub.address, tools: [], capacity: 0 }), ValidationError);
});

test("a worker that drains finishes its calls, and gets no more", async () => {
  const gate = new Gate<void>();
  const started = new Gate<void>();
  const slow = tool({
    name: "js_slow",
    async run() {
      started.open();
      await gate.passed();
      return new Uint8Array(5_000_000);
    },
  });
  const leaving = await new Worker({ address: hub.address, tools: [slow] }).start();
  const call = session.call("js_slow");
  await started.passed();
  const drained = leaving.drain(PATIENCE);
  // The hub has seen the drain when it has answered what followed it.
  await session.call("add", { a: 1, b: 1 });
  gate.open();
  assert.equal(((await call) as Uint8Array).length, 5_000_000);
  assert.equal(await drained, true);
});

test("a worker that drains cuts off calls that outlast its grace", async () => {
  begun.reset();
  const hang = tool({
    name: "js_outlast",
    run: (_, context) => {
      begun.open(context);
      return new Promise(() => undefined);
    },
  });
  const leaving = await new Worker({ address: hub.address, tools: [hang] }).start();
  const call = session.call("js_outlast");
  call.catch(() => undefined);
  await begun.passed();
  assert.equal(await leaving.drain(20), false);
  await assert.rejects(call, { type: "Cancelled", message: /its worker leaves/ });
});

test("a worker takes no more calls at once than its capacity", async () => {
  let running = 0;
  let most = 0;
  const gate = new Gate<void>();
  const counted = tool({
    name: "js_counted",
    async run() {
      most = Math.max(most, ++running);
      if (running === 2) gate.open();
      await gate.passed();
      running--;
    },
  });
  await using narrow = new Worker({ address: hub.address, tools: [counted], capacity: 2 });
  await narrow.start();
  await Promise.all(Array.from({ length: 10 }, () => session.call("js_counted")));
  assert.equal(most, 2);
});

test("a generator that waits for nothing ends at its deadline, and does not hold up the worker", async () => {
  function* numbers() {
    for (let number = 0; ; number++) yield number;
  }
  const tools = [
    tool({ name: "js_endless", run: numbers }),
    tool({
      name: "js_endlessly",
      async *run() {
        yield* numbers();
      },
    }),
  ];
  await using _ = await new Worker({ address: hub.address, tools }).start();
  for (const { name } of tools) {
    await assert.rejects(session.call(name, [], { timeoutMs: 300 }), { type: "TimeoutError" });
    for await (const number of session.stream(name)) if (number === 1_000) break;
    assert.equal(await session.call("js_add", [1, 2]), 3);
  }
});

test("a result whose own code throws is an error of the tool, and any thenable is awaited", async () => {
  const getter = {
    get it() {
      throw new TeapotError("no handle");
    },
  };
  const tools = [
    tool({ name: "js_getter", run: () => getter }),
    tool({
      name: "js_yields_getter",
      *run() {
        yield getter;
      },
    }),
    // biome-ignore lint/suspicious/noThenProperty: it is one
    tool({ name: "js_thenable", run: () => ({ then: (resolve: (value: number) => void) => resolve(5) }) }),
  ];
  await using _ = await new Worker({ address: hub.address, tools }).start();
  assert.equal(await session.call("js_thenable"), 5);
  for (const name of ["js_getter", "js_yields_getter"]) {
    await assert.rejects(session.call(name), { type: "TeapotError", message: "no handle", origin: "tool" });
    await assert.rejects(collect(session.stream(name)), { type: "TeapotError", message: "no handle", origin: "tool" });
  }
});

test("a tool asks its caller, and an answer that does not fit is an error of the tool", async () => {
  const answers: (object | boolean)[] = [{ name: "Ada" }, false, { name: "A" }];
  await using asked = await connect(hub.address, { onAsk: () => answers.shift() as boolean });
  await using its = await asked.session();
  assert.deepEqual(await its.call("js_ask"), { action: "accept", content: { name: "Ada" } });
  assert.deepEqual(await its.call("js_ask"), { action: "decline", content: {} });
  await assert.rejects(its.call("js_ask"), {
    type: "ValidationError",
    message: /name: must have at least 2 characters/,
  });
  await assert.rejects(session.call("js_ask"), { type: "Unimplemented", message: /who cannot answer/ });
});

test("with a JSON Schema, arguments that are left out get their defaults, and the others are checked", async () => {
  const range = tool({
    name: "js_range",
    input: {
      type: "object",
      properties: {
        from: { type: "integer", default: 1 },
        to: { type: "integer", maximum: 9 },
        marks: { type: "array", items: { enum: ["a", "b"] }, default: [] },
      },
      required: ["to"],
      additionalProperties: false,
    },
    run: ({ from, to, marks }) => [from, to, marks],
  });
  await using its = await new Worker({ address: hub.address, tools: [range] }).start();
  assert.equal(its.tools.length, 1);
  assert.deepEqual(await session.call("js_range", { to: 3 }), [1, 3, []]);
  await assert.rejects(session.call("js_range", { to: 3, marks: ["a", "c"] }), {
    type: "ValidationError",
    message: /marks\.1: must be "a" or "b", not "c"/,
  });
  await assert.rejects(session.call("js_range", { to: 10 }), { type: "ValidationError" });
});

test("two workers share a tool, and one goes on when the other leaves", async () => {
  const served: string[] = [];
  const replica = (name: string) =>
    new Worker({ address: hub.address, tools: [tool({ name: "js_shared", run: () => served.push(name) })] });
  const first = await replica("first").start();
  await using second = await replica("second").start();
  await Promise.all(Array.from({ length: 20 }, () => session.call("js_shared")));
  assert.deepEqual([...new Set(served)].sort(), ["first", "second"]);
  await first.drain();
  served.length = 0;
  await Promise.all(Array.from({ length: 5 }, () => session.call("js_shared")));
  assert.deepEqual(new Set(served), new Set(["second"]));
  assert.deepEqual(second.tools, ["js_shared"]);
});
