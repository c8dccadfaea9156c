import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import {
  type Client,
  ConflictError,
  connect,
  NotFoundError,
  SerializationError,
  type Session,
  SessionNotFoundError,
  ToolBridgeError,
  ToolCommunicationError,
  ToolExecutionError,
  ToolTimeoutError,
  ValidationError,
} from "../src/index.js";
import { collect } from "./support/collect.js";
import { Hub, PATIENCE } from "./support/hub.js";

let hub: Hub;
let client: Client;
let session: Session;

before(async () => {
  hub = await Hub.start();
  client = await connect(hub.address, { connectTimeoutMs: PATIENCE });
  session = await client.session();
});

after(async () => {
  await client[Symbol.asyncDispose]();
  await hub.kill();
});

test("a tool gets arguments by name or in order, and its result comes back", async () => {
  assert.equal(await session.call("add", { a: 1, b: 2 }), 3);
  assert.equal(await session.call("add", [40, 2]), 42);
});

test("an argument that is undefined is left out, as the default of a tool is taken then", async () => {
  await assert.rejects(session.call("add", { a: 1, b: undefined }), { type: "ValidationError" });
});

test("a thousand calls at once get each its own answer", async () => {
  const sums = await Promise.all(Array.from({ length: 1_000 }, (_, n) => session.call("add", { a: n, b: 1 })));
  assert.deepEqual(
    sums,
    Array.from({ length: 1_000 }, (_, n) => n + 1),
  );
});

test("an exception of a tool arrives with its class, message, traceback and origin", async () => {
  await assert.rejects(session.call("fail", { message: "lost" }), (error) => {
    assert.ok(error instanceof ToolExecutionError);
    assert.equal(error.tool, "fail");
    assert.equal(error.type, "KeyError");
    assert.equal(error.message, "'lost'");
    assert.equal(error.origin, "tool");
    assert.equal(error.retryable, false);
    assert.match(error.remoteStack, /hub\.py/);
    return true;
  });
});

test("a refusal of the bridge names what was wrong", async () => {
  await assert.rejects(session.call("add", { a: "x" }), (error) => {
    assert.ok(error instanceof ToolExecutionError);
    assert.equal(error.type, "ValidationError");
    assert.equal(error.origin, "bridge");
    assert.match(error.message, /'b': missing/);
    return true;
  });
  await assert.rejects(session.call("nothing"), { name: "ToolExecutionError", type: "ToolNotFound" });
});

test("arguments that cannot be sent are refused before anything is sent, and named", async () => {
  await assert.rejects(session.call("echo", { value: () => 1 }), SerializationError);
  await assert.rejects(session.call("echo", { value: Promise.resolve() }), /argument "value".*await it/);
  await assert.rejects(session.call("echo", 7 as never), ValidationError);
  await assert.rejects(session.call("", {}), ValidationError);
  await assert.rejects(session.call("add", { a: 1, b: 2 }, { timeoutMs: 0 }), /timeoutMs/);
});

test("an argument over the limit is refused with its size", async () => {
  await assert.rejects(session.call("echo", { value: new Uint8Array(11_000_000) }), { type: "MessageTooLarge" });
  assert.equal(await session.call("add", { a: 1, b: 1 }), 2);
});

test("a payload of many fragments crosses both ways", async () => {
  const value = new Uint8Array(3_000_000).map((_, index) => index % 251);
  assert.deepEqual(await session.call("echo", { value }), value);
});

test("a call that is aborted rejects with the signal's reason, and its tool is cancelled", async () => {
  const controller = new AbortController();
  const hanging = session.call("hang", {}, { signal: controller.signal });
  hanging.catch(() => undefined);
  assert.equal(await session.call("hang_started"), true);
  controller.abort(new Error("not needed"));
  await assert.rejects(hanging, { message: "not needed" });
  assert.equal(await session.call("hang_cancelled"), true);
});

test("a signal that was aborted before sends nothing", async () => {
  await assert.rejects(session.call("add", { a: 1, b: 1 }, { signal: AbortSignal.abort() }), { name: "AbortError" });
  await assert.rejects(session.stream("count_up", { n: 1 }, { signal: AbortSignal.abort() }).next(), {
    name: "AbortError",
  });
});

test("a call that takes too long ends with a ToolTimeoutError", async () => {
  await assert.rejects(session.call("hang", {}, { timeoutMs: 20 }), (error) => {
    assert.ok(error instanceof ToolTimeoutError);
    assert.equal(error.type, "TimeoutError");
    assert.equal(error.retryable, true);
    return true;
  });
});

test("what a tool yields comes one by one, or as an array", async () => {
  const numbers: number[] = [];
  for await (const number of session.stream<number>("count_up", { n: 3 })) numbers.push(number);
  assert.deepEqual(numbers, [0, 1, 2]);
  assert.deepEqual(await session.call("count_up", { n: 3 }), [0, 1, 2]);
  assert.deepEqual(await collect(session.stream("add", { a: 1, b: 2 })), [3]);
});

test("a stream whose reader leaves ends its tool, which was never far ahead of it", async () => {
  let size = 0;
  for await (const chunk of session.stream<Uint8Array>("endless")) {
    size += chunk.length;
    if (size > 4_000_000) break;
  }
  for await (const change of session.variables.watch<number>(["yielded"])) {
    // A window of 1 MiB, and what the hub and the tool keep ready.
    assert.ok(change.value! * 65_536 < size + 4_000_000, `${change.value} values`);
    break;
  }
});

test("a stream that fails throws the tool's error after its values", async () => {
  const values = session.stream("fail", { message: "m" });
  await assert.rejects(values.next(), { type: "KeyError", origin: "tool" });
});

test("a stream takes no idempotency key", async () => {
  await assert.rejects(session.stream("count_up", { n: 1 }, { idempotencyKey: "k" }).next(), ValidationError);
});

test("progress and log lines of a tool are told while it runs", async () => {
  const told: unknown[] = [];
  const answer = await session.call(
    "report",
    {},
    {
      onProgress: ({ current, total, message }) => told.push([current, total, message]),
      onLog: ({ level, message, fields }) => told.push([level, message, fields]),
    },
  );
  assert.equal(answer, "done");
  assert.deepEqual(told, [
    [1, 2, "half"],
    ["warning", "a line", { place: "here" }],
  ]);
});

test("metadata of a call reaches its tool", async () => {
  assert.deepEqual(await session.call("metadata", {}, { metadata: { trace: "t1" } }), { trace: "t1" });
});

test("a batch settles each of its calls, in order", async () => {
  const results = await session.batch([
    { tool: "add", args: { a: 1, b: 2 } },
    { tool: "fail", args: { message: "m" } },
    { tool: "add", args: [3, 4] },
  ]);
  assert.deepEqual(
    results.map(({ status }) => status),
    ["fulfilled", "rejected", "fulfilled"],
  );
  const [first, second] = results;
  assert.ok(first?.status === "fulfilled" && first.value === 3);
  assert.ok(second?.status === "rejected" && second.reason.type === "KeyError" && second.reason.origin === "tool");
  assert.deepEqual(await session.batch([]), []);
});

test("a batch that stops on an error cancels the rest", async () => {
  const items = [
    { tool: "fail", args: { message: "m" } },
    { tool: "add", args: [1, 1] },
  ];
  const [, second] = await session.batch(items, { sequential: true, stopOnError: true });
  assert.ok(second?.status === "rejected" && second.reason.type === "Cancelled");
});

test("a batch of too many calls is refused as a whole", async () => {
  const items = Array.from({ length: 101 }, () => ({ tool: "add", args: [1, 1] }));
  await assert.rejects(session.batch(items), ValidationError);
});

test("the same idempotency key gets the earlier answer", async () => {
  const options = { idempotencyKey: "once" };
  assert.equal(await session.call("add", { a: 1, b: 2 }, options), 3);
  assert.equal(await session.call("add", { a: 1, b: 2 }, options), 3);
  await assert.rejects(session.call("add", { a: 2, b: 2 }, options), { type: "IdempotencyConflict" });
});

test("a session lists its tools with their schemas", async () => {
  const tools = await session.tools();
  const add = tools.find(({ name }) => name === "add");
  assert.equal(add?.description, "Adds two integers.");
  assert.deepEqual(Object.keys(JSON.parse(add!.inputSchema).properties), ["a", "b"]);
});

test("a session is shared by its id, and ends with the client that made it", async () => {
  const mine = await client.session("shared");
  const other = await client.session("shared");
  assert.deepEqual([mine.created, other.created], [true, false]);
  await mine.variables.set("x", 1);
  assert.equal(await other.variables.get("x"), 1);
  await mine[Symbol.asyncDispose]();
  await assert.rejects(other.info(), ToolBridgeError);
});

test("a session that never was is a SessionNotFoundError, by its class", async () => {
  const gone = await client.session("gone");
  await gone.end();
  await assert.rejects(
    gone.info(),
    (error) => error instanceof NotFoundError && !(error instanceof SessionNotFoundError),
  );
});

test("variables have values, revisions, tags, and compare-and-set", async () => {
  const { variables } = session;
  const first = await variables.set("count", 1, { expectedRevision: 0, tags: { unit: "m" }, createdBy: "me" });
  await assert.rejects(variables.set("count", 2, { expectedRevision: 0 }), ConflictError);
  const second = await variables.set("count", 2, { expectedRevision: first });
  assert.ok(second > first);
  const { value, revision, metadata } = await variables.getWithMetadata<number>("count");
  assert.deepEqual([value, revision, metadata.tags, metadata.createdBy], [2, second, { unit: "m" }, "me"]);
  assert.deepEqual(
    (await variables.list({ prefix: "cou", tags: ["unit=m"] })).map(({ name }) => name),
    ["count"],
  );
  await assert.rejects(variables.delete("count", { expectedRevision: first }), ConflictError);
  await variables.delete("count");
  await assert.rejects(variables.get("count"), { name: "NotFoundError", type: "VariableNotFound" });
  await assert.rejects(variables.set("missing", 1, { createIfMissing: false }), NotFoundError);
  await assert.rejects(variables.set("", 1), ValidationError);
  await assert.rejects(variables.set("x", 1, { expectedRevision: -1 }), ValidationError);
});

test("a watch has the present values, then each change", async () => {
  const { variables } = session;
  await variables.set("w1", "a");
  const changes = variables.watch<string>(["w1"]);
  const next = async () => {
    const { value } = await changes.next();
    return [value?.operation, value?.name, value?.value];
  };
  assert.deepEqual(await next(), ["set", "w1", "a"]);
  await variables.set("w1", "b");
  assert.deepEqual(await next(), ["update", "w1", "b"]);
  await variables.delete("w1");
  assert.deepEqual(await next(), ["delete", "w1", null]);
  await changes.return();
});

test("a watch of a name that stands alone, or of none, is refused", () => {
  assert.throws(() => session.variables.watch("w1" as never), /names must be an array, not "w1"/);
  assert.throws(() => session.variables.watch([""]), /the name of a variable must be/);
});

test("a watch from now on leaves out what was before", async () => {
  const { variables } = session;
  await variables.set("w2", 1);
  const changes = variables.watch<number>(["w2"], { includeInitial: false });
  let seen: number | null | undefined;
  const first = changes.next().then(({ value }) => {
    seen = value?.value;
  });
  // Nobody is told when a watch has begun.
  while (seen === undefined) await variables.set("w2", 2);
  await first;
  assert.equal(seen, 2);
  await changes.return();
});

test("an agent's steps come in order, and its result last", async () => {
  const agent = await session.agents.create("Question -> Answer", { tools: ["add"] });
  const steps = [];
  for await (const step of agent.run({ call: "add", arguments: { a: 2, b: 2 } })) steps.push(step);
  assert.equal(steps.at(-1)?.type, "result");
  assert.deepEqual(
    steps.map(({ sequence }) => sequence),
    steps.map((_, index) => index),
  );
  assert.ok(steps.some((step) => step.type === "observation" && step.output === 4));
  await assert.rejects(session.agents.create("no signature"), ValidationError);
  await assert.rejects(session.agents.create("q -> a", { tools: [] }), ValidationError);
});

test("a run is attached to by its id, and cancelled", async () => {
  const agent = await session.agents.create("Question -> Answer");
  for await (const step of agent.run({ think: 3 }, { runId: "run-1" })) if (step.type === "result") break;
  const thoughts = [];
  for await (const step of session.agents.attach("run-1", { fromSequence: 1 })) {
    if (step.type === "thought") thoughts.push(step.text);
  }
  assert.deepEqual(thoughts, ["thought 2", "thought 3"]);
  await assert.rejects(session.agents.cancel("no such run"), NotFoundError);
  await assert.rejects(session.agents.attach("no such run").next(), NotFoundError);
});

test("a run that fails throws its error", async () => {
  const agent = await session.agents.create("Question -> Answer");
  await assert.rejects(collect(agent.run({ raise: "it broke" })), { message: /it broke/ });
});

test("the hub says whether it is healthy, and what it measures", async () => {
  assert.equal(await client.isHealthy(), true);
  const { "hub.epoch": epoch } = await client.metrics("hub.epoch");
  assert.equal(epoch?.value.case, "stringValue");
});

test("a hub that is not there is a ToolCommunicationError with the reason", async () => {
  await assert.rejects(connect("127.0.0.1:1", { connectTimeoutMs: 300 }), (error) => {
    assert.ok(error instanceof ToolCommunicationError);
    assert.equal(error.code, "UNAVAILABLE");
    assert.match(
      error.message,
      /: there was no link to 127\.0\.0\.1:1 within 0\.3 s: connect ECONNREFUSED 127\.0\.0\.1:1$/,
    );
    return true;
  });
});

test("addresses and tokens that cannot be used are refused at once", async () => {
  for (const address of ["", "http://127.0.0.1:1", "127.0.0.1", "user@host:1", 7]) {
    await assert.rejects(connect(address as string), ValidationError);
  }
  await assert.rejects(connect("10.1.2.3:50051", { token: "t" }), /without TLS/);
});

test("a call on a closed client fails, and names why", async () => {
  const other = await connect(hub.address);
  const its = await other.session("closing", { keep: true });
  await other.close();
  await assert.rejects(its.call("add", { a: 1, b: 1 }), /was closed/);
});

test("a tool's question is answered by onAsk, and its answer reaches the tool", async () => {
  const questions: unknown[] = [];
  await using asked = await connect(hub.address, {
    onAsk: async ({ message, schema, tool }) => {
      questions.push([message, Object.keys(schema?.properties as object), tool]);
      return message === "name?" ? { name: "Ada" } : false;
    },
  });
  await using its = await asked.session();
  assert.deepEqual(await its.call("ask", { question: "name?" }), { action: "accept", name: "Ada" });
  assert.deepEqual(await its.call("ask", { question: "no?" }), { action: "decline" });
  assert.deepEqual(questions[0], ["name?", ["name"], "ask"]);
});

test("a question to a client without onAsk is an error of the tool, and one that throws is the call's", async () => {
  await assert.rejects(session.call("ask", { question: "name?" }), { type: "Unimplemented" });
  await using asked = await connect(hub.address, {
    onAsk: () => {
      throw new RangeError("cannot say");
    },
  });
  await using its = await asked.session();
  await assert.rejects(its.call("ask", { question: "name?" }), { name: "RangeError", message: "cannot say" });
});

test("many calls share a signal without a warning, and one abort ends all of them", async () => {
  const warnings: Error[] = [];
  const onWarning = (warning: Error) => warnings.push(warning);
  process.on("warning", onWarning);
  const controller = new AbortController();
  const { signal } = controller;
  const calls = Array.from({ length: 30 }, () => session.call("hang", {}, { signal }));
  await session.call("add", { a: 1, b: 1 }, { signal });
  controller.abort();
  const ended = await Promise.allSettled(calls);
  assert.ok(ended.every((call) => call.status === "rejected" && call.reason.name === "AbortError"));
  await session.call("add", { a: 1, b: 1 });
  process.off("warning", onWarning);
  assert.deepEqual(warnings, []);
});

test("a tool is a function, with settings of its own", async () => {
  const add = session.tool<{ a: number; b: number }, number>("add", { timeoutMs: PATIENCE });
  assert.equal(await add({ a: 1, b: 2 }), 3);
  assert.deepEqual(await collect(add.stream({ a: 1, b: 2 })), [3]);
  const hang = session.tool("hang", { timeoutMs: PATIENCE });
  await assert.rejects(hang({}, { timeoutMs: 20 }), ToolTimeoutError);
});

test("a call is tried again while its error is retryable, as often as was asked for", async () => {
  assert.equal(await session.call("flaky", { failures: 2 }, { retries: 2 }), 3);
  await assert.rejects(session.call("flaky", { failures: 2 }, { retries: 1 }), { type: "BusyError", message: "run 2" });
  assert.equal(await session.call("flaky", { failures: 2 }), 3);
  await assert.rejects(session.call("fail", { message: "m" }, { retries: 3 }), { type: "KeyError" });
  const signal = AbortSignal.timeout(50);
  await assert.rejects(session.call("hang", {}, { retries: 100, timeoutMs: 10, signal }), { name: "TimeoutError" });
});
