import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { connect, ToolCommunicationError, tool, Worker } from "../src/index.js";
import { Gate } from "./support/gate.js";
import { Hub, PATIENCE } from "./support/hub.js";

const QUIET = { warn: () => undefined, info: () => undefined };

test("a client whose hub restarts fails its calls in flight, and goes on with a new session of the same id", async () => {
  await using first = await Hub.start();
  await using client = await connect(first.address);
  const renewed = new Gate<void>();
  const session = await client.session("mine", { onRenewed: () => renewed.open() });
  const hanging = session.call("hang");
  hanging.catch(() => undefined);
  await session.call("hang_started");
  await first.kill();
  await assert.rejects(hanging, (error) => {
    assert.ok(error instanceof ToolCommunicationError);
    assert.equal(error.code, "UNAVAILABLE");
    assert.equal(error.target, "hang");
    assert.equal(error.retryable, true);
    return true;
  });
  // A call that is made meanwhile waits for the next hub.
  const waiting = session.call("add", { a: 1, b: 2 });
  await using second = await Hub.start(first.address);
  assert.equal(await waiting, 3);
  await renewed.passed();
  assert.equal(second.address, first.address);
});

test("a hub that shuts down lets calls in flight finish, and later ones wait for the next hub", async () => {
  const first = await Hub.start();
  await using client = await connect(first.address);
  const session = await client.session("mine");
  const finishing = session.call("add_slowly", { a: 1, b: 2 });
  await session.call("hang_started");
  const stopped = first.stop();
  assert.equal(await finishing, 3);
  await stopped;
  const waiting = session.call("add", { a: 3, b: 4 });
  await using second = await Hub.start(first.address);
  assert.equal(await waiting, 7);
  assert.equal(second.address, first.address);
});

test("a call that waits for a hub ends within its own time, and says so", async () => {
  await using hub = await Hub.start();
  await using client = await connect(hub.address);
  const session = await client.session();
  await hub.kill();
  await assert.rejects(session.call("add", { a: 1, b: 2 }, { timeoutMs: 100 }), { name: "ToolCommunicationError" });
  const controller = new AbortController();
  const waiting = session.call("add", { a: 1, b: 2 }, { signal: controller.signal });
  controller.abort();
  await assert.rejects(waiting, { name: "AbortError" });
});

test("a watch goes on at a hub that has restarted, with a reset and what there is", async () => {
  await using first = await Hub.start();
  await using client = await connect(first.address);
  const session = await client.session("watched");
  await session.variables.set("x", 1);
  const changes = session.variables.watch<number>(["x"]);
  assert.equal((await changes.next()).value?.value, 1);
  const next = changes.next();
  await first.kill();
  await using second = await Hub.start(first.address);
  await session.variables.set("x", 2);
  const seen = [await next];
  while (seen.at(-1)?.value?.value !== 2) seen.push(await changes.next());
  const operations = seen.map(({ value }) => value?.operation);
  assert.ok(operations[0] === "reset" || operations.at(-1) === "set", String(operations));
  await changes.return();
  await second.kill();
});

test("a worker whose hub restarts registers its tools again", async () => {
  await using first = await Hub.start();
  const back = new Gate<void>();
  const logger = { warn: () => undefined, info: () => back.open() };
  await using worker = new Worker({ address: first.address, tools: [tool({ name: "js_one", run: () => 1 })], logger });
  await worker.start();
  assert.deepEqual(await first.callFromPython("js_one"), { ok: "1" });
  await first.kill();
  await using second = await Hub.start(first.address);
  await back.passed();
  assert.deepEqual(await second.callFromPython("js_one"), { ok: "1" });
});

test("a worker that starts before its hub waits for it", async () => {
  let address: string;
  {
    await using gone = await Hub.start();
    address = gone.address;
  }
  await using worker = new Worker({
    address,
    tools: [tool({ name: "js_one", run: () => 1 })],
    logger: QUIET,
  });
  const started = worker.start({ connectTimeoutMs: PATIENCE });
  await using hub = await Hub.start(address);
  await started;
  assert.deepEqual(await hub.callFromPython("js_one"), { ok: "1" });
});

test("a worker drains at once while its hub is gone", async () => {
  const hub = await Hub.start();
  const worker = await new Worker({ address: hub.address, tools: [], logger: QUIET }).start();
  await hub.kill();
  assert.equal(await worker.drain(PATIENCE), true);
});

test("a worker that is told to leave while it waits for its hub leaves", async () => {
  const worker = new Worker({ address: "127.0.0.1:1", tools: [], logger: QUIET });
  const running = worker.run({ connectTimeoutMs: PATIENCE });
  await worker.drain();
  await running;
});

test("a worker with a wrong address gives up, and says why", async () => {
  const worker = new Worker({ address: "127.0.0.1:1", tools: [], logger: QUIET });
  await assert.rejects(worker.start({ connectTimeoutMs: 200 }), { code: "UNAVAILABLE" });
});

test("a worker's process drains on SIGTERM: its call ends, and so does it", async () => {
  await using hub = await Hub.start();
  const program = fileURLToPath(new URL("./support/draining_worker.js", import.meta.url));
  const child = spawn(process.execPath, [program, hub.address], { stdio: ["ignore", "pipe", "inherit"] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  assert.equal((await lines.next()).value, "ready");
  const exit = once(child, "exit");
  const call = hub.callFromPython("js_until_drained");
  assert.equal((await lines.next()).value, "called");
  child.kill("SIGTERM");
  assert.deepEqual(await call, { ok: "'drained'" });
  assert.deepEqual(await exit, [0, null]);
});
