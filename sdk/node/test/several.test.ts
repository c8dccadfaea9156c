import assert from "node:assert/strict";
import { test } from "node:test";
import { AccessError, connect, ToolCommunicationError, tool, ValidationError, Worker } from "../src/index.js";
import { SeveralEndpoints } from "../src/link/several.js";
import { linkError } from "../src/link/status.js";
import type { Endpoint } from "../src/link/streams.js";
import { splitAddresses } from "../src/transport/addresses.js";
import { Gate } from "./support/gate.js";
import { Hub } from "./support/hub.js";

const QUIET = { warn: () => undefined, info: () => undefined };
/** Nobody listens there. */
const NOBODY = "127.0.0.1:1";

test("a client with several addresses uses the first hub that serves, and another when that is gone", async () => {
  await using first = await Hub.start();
  await using second = await Hub.start();
  await using client = await connect(`${NOBODY},${first.address},${second.address}`);
  assert.equal(client.address, `${NOBODY}, ${first.address}, ${second.address}`);
  const session = await client.session("mine");
  assert.equal(await session.call("add", { a: 1, b: 2 }), 3);
  await first.kill();
  assert.equal(await session.call("add", { a: 3, b: 4 }), 7);
});

test("a client leaves a hub that shuts down for another one, and its calls in flight finish", async () => {
  const first = await Hub.start();
  await using second = await Hub.start();
  await using client = await connect(`${first.address},${second.address}`);
  const session = await client.session("mine");
  const finishing = session.call("add_slowly", { a: 1, b: 2 });
  await session.call("hang_started");
  const stopped = first.stop();
  assert.equal(await finishing, 3);
  await stopped;
  assert.equal(await session.call("add", { a: 3, b: 4 }), 7);
});

test("a worker with several addresses offers its tools at another hub when its own is gone", async () => {
  await using first = await Hub.start();
  await using second = await Hub.start();
  const back = new Gate<void>();
  const logger = { ...QUIET, info: () => back.open() };
  const address = `${first.address},${second.address}`;
  await using worker = new Worker({ address, tools: [tool({ name: "js_one", run: () => 1 })], logger });
  await worker.start();
  assert.deepEqual(await first.callFromPython("js_one"), { ok: "1" });
  await first.kill();
  await back.passed();
  assert.deepEqual(await second.callFromPython("js_one"), { ok: "1" });
});

test("a client that reaches none of several hubs says why of each", async () => {
  await assert.rejects(connect(`${NOBODY},127.0.0.1:2`, { connectTimeoutMs: 500 }), (error) => {
    assert.ok(error instanceof ToolCommunicationError);
    assert.match(error.message, /none of the 2 hubs serves: 127\.0\.0\.1:1: .+; 127\.0\.0\.1:2: /);
    return true;
  });
});

test("addresses that cannot be used are refused", () => {
  assert.deepEqual(splitAddresses("a:1, b:2"), ["a:1", "b:2"]);
  assert.throws(() => splitAddresses("a:1,"), { name: "ValidationError", message: /missing beside a comma/ });
  assert.throws(() => splitAddresses("a:1,a:1"), { name: "ValidationError", message: /a:1 is there twice/ });
  assert.throws(() => splitAddresses("a:1,http://b"), ValidationError);
  assert.throws(() => splitAddresses(Array.from({ length: 101 }, (_, n) => `a:${n + 1}`).join()), /at most 100/);
});

test("hubs are dialled in turn, with a pause and more time after a round in vain", () => {
  const endpoint = (where: string) => ({ where, close: () => undefined }) as Endpoint;
  const several = new SeveralEndpoints([endpoint("a:1"), endpoint("b:2")]);
  const [lost, refused] = [linkError("UNAVAILABLE", "gone"), new AccessError("wrong token")];
  assert.equal(several.moveOn(lost, { served: false }), undefined);
  assert.equal(several.where, "b:2");
  const before = several.greetingMs;
  assert.match(several.moveOn(refused, { served: false })!.message, /a:1: gone; b:2: wrong token/);
  assert.equal(several.where, "a:1");
  assert.equal(several.greetingMs, 2 * before);
  assert.equal(several.moveOn(refused, { served: true }), undefined);
  assert.equal(several.greetingMs, before);
  // Dialling again would not change that.
  assert.equal(several.moveOn(refused, { served: false }), refused);
});
