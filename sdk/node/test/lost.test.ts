import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { type AgentStep, type Client, connect, type Session, type VariableChange } from "../src/index.js";
import { Hub } from "./support/hub.js";
import { FlakyProxy } from "./support/proxy.js";

let hub: Hub;
let direct: Client;

before(async () => {
  hub = await Hub.start();
  direct = await connect(hub.address);
});

after(async () => {
  await direct[Symbol.asyncDispose]();
  await hub.kill();
});

/** The same session twice: over a proxy, and directly. */
async function twoWays(id: string): Promise<{ proxy: FlakyProxy; client: Client; session: Session; other: Session }> {
  const other = await direct.session(id);
  const proxy = await FlakyProxy.start(hub.address);
  const client = await connect(proxy.address);
  return { proxy, client, session: await client.session(id), other };
}

async function values(changes: AsyncIterator<VariableChange<number>, void>, count: number): Promise<unknown[]> {
  const seen: unknown[] = [];
  while (seen.length < count) {
    const { value } = await changes.next();
    seen.push([value?.operation, value?.value]);
  }
  return seen;
}

test("a watch goes on over the next connection without missing or repeating a change", async () => {
  const { proxy, client, session, other } = await twoWays("watched");
  await using _proxy = proxy;
  await using _client = client;
  await other.variables.set("x", 1);
  const changes = session.variables.watch<number>(["x"]);
  assert.deepEqual(await values(changes, 1), [["set", 1]]);
  proxy.hold();
  await other.variables.set("x", 2);
  await other.variables.set("x", 3);
  proxy.restore();
  assert.deepEqual(await values(changes, 2), [
    ["update", 2],
    ["update", 3],
  ]);
  await other.variables.delete("x");
  assert.deepEqual(await values(changes, 1), [["delete", null]]);
  await changes.return();
});

test("a watch from now on that loses its connection before the first change misses none", async () => {
  const { proxy, client, session, other } = await twoWays("from-now");
  await using _proxy = proxy;
  await using _client = client;
  await other.variables.set("x", 1);
  // The hub keeps a history from the first watch on.
  const earlier = other.variables.watch(["x"]);
  await earlier.next();
  const changes = session.variables.watch<number>(["x"], { includeInitial: false });
  const first = values(changes, 2);
  while ((await other.info()).activeOperations < 2);
  proxy.hold();
  await other.variables.set("x", 2);
  await other.variables.set("x", 3);
  proxy.restore();
  assert.deepEqual(await first, [
    ["update", 2],
    ["update", 3],
  ]);
  await changes.return();
  await earlier.return();
});

test("a run of an agent goes on over the next connection, step by step", async () => {
  const { proxy, client, session } = await twoWays("agents");
  await using _proxy = proxy;
  await using _client = client;
  const agent = await session.agents.create("Question -> Answer");
  const steps: AgentStep[] = [];
  for await (const step of agent.run({ think: 50 })) {
    steps.push(step);
    if (step.sequence === 0) {
      proxy.hold();
      proxy.restore();
    }
  }
  assert.deepEqual(
    steps.map(({ sequence }) => sequence),
    steps.map((_, index) => index),
  );
  assert.equal(steps.at(-1)?.type, "result");
});

test("calls in flight fail when the connection is lost, and retries make them again", async () => {
  const { proxy, client, session } = await twoWays("calls");
  await using _proxy = proxy;
  await using _client = client;
  const hanging = session.call("hang");
  hanging.catch(() => undefined);
  await session.call("hang_started");
  proxy.hold();
  await assert.rejects(hanging, { name: "ToolCommunicationError", code: "UNAVAILABLE" });
  const waiting = session.call("add", { a: 1, b: 2 }, { retries: 3 });
  proxy.restore();
  assert.equal(await waiting, 3);
});
