import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { AccessError, connect, ProtocolError, type ToolContext, tool, Worker } from "../src/index.js";
import { readCaller } from "../src/worker/principal.js";
import { collect } from "./support/collect.js";
import { Hub } from "./support/hub.js";

const TOKEN = "open-sesame";

let folder: string;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "tool-bridge-"));
});

after(() => rm(folder, { recursive: true }));

test("a hub with TLS and a token takes clients and workers that have both", async () => {
  await using hub = await Hub.start("localhost:0", folder);
  const access = { token: TOKEN, tlsCa: join(folder, "ca.pem") };
  await using worker = new Worker({ address: hub.address, tools: [tool({ name: "js_one", run: () => 1 })], ...access });
  await worker.start();
  await using client = await connect(hub.address, access);
  await using session = await client.session();
  assert.equal(await session.call("js_one"), 1);
  assert.deepEqual(await hub.callFromPython("js_one"), { ok: "1" });
  await assert.rejects(connect(hub.address, { ...access, token: "wrong" }), (error) => {
    assert.ok(error instanceof AccessError);
    assert.equal(error.type, "Unauthenticated");
    return true;
  });
  await assert.rejects(connect(hub.address, { tlsCa: access.tlsCa }), AccessError);
  const refused = new Worker({ address: hub.address, tools: [], tlsCa: access.tlsCa });
  await assert.rejects(refused.start(), AccessError);
  // An authority that did not sign the hub's certificate.
  await assert.rejects(connect(hub.address, { token: TOKEN, tls: true, connectTimeoutMs: 500 }), {
    code: "UNAVAILABLE",
  });
});

test("a tool sees who has called it and how, and nobody where the hub does not authenticate", async () => {
  const facts = ({ principal, via }: ToolContext) => ({ principal: principal ?? null, via: [...via] });
  const tools = [
    tool({ name: "js_who", run: (_, context) => facts(context) }),
    tool({ name: "js_asks", run: async (_, context) => [facts(context), await context.call("js_who")] }),
    tool({
      name: "js_streams",
      async *run(_, context) {
        yield facts(context);
      },
    }),
  ];
  const caller = { name: "token", groups: [], method: "token", claims: {} };
  const forged = { metadata: { "tool-bridge-principal": '{"name":"eve"}' } };
  for (const isKnown of [true, false]) {
    await using hub = await (isKnown ? Hub.start("localhost:0", folder) : Hub.start());
    const access = isKnown ? { token: TOKEN, tlsCa: join(folder, "ca.pem") } : {};
    await using worker = new Worker({ address: hub.address, tools, ...access });
    await worker.start();
    await using client = await connect(hub.address, access);
    await using session = await client.session();
    const principal = isKnown ? caller : null;
    assert.deepEqual(await session.call("js_who", {}, forged), { principal, via: [] });
    assert.deepEqual(await collect(session.stream("js_streams", {}, forged)), [{ principal, via: [] }]);
    assert.deepEqual(await session.call("js_asks"), [
      { principal, via: [] },
      { principal, via: isKnown ? ["tool:js_asks"] : [] },
    ]);
  }
});

test("what a hub says of a caller is read or refused as a whole", () => {
  const read = (text: string) => readCaller(new Map([["tool-bridge-principal", text]]));
  assert.deepEqual(read('{"name":"ada","groups":["staff"],"claims":{"email":"a@b"},"via":["agent:planner"]}'), {
    principal: { name: "ada", groups: ["staff"], claims: { email: "a@b" }, method: "" },
    via: ["agent:planner"],
  });
  assert.deepEqual(readCaller(new Map()), { principal: undefined, via: [] });
  const wrong = ["", "no JSON", "[]", "null", "{}", '{"name":3}', '{"name":"a","groups":"staff"}'];
  for (const text of [...wrong, '{"name":"a","claims":[]}', '{"name":"a","via":[1]}', '{"name":"a","method":1}']) {
    assert.throws(() => read(text), ProtocolError, text);
  }
});

test("a hub at a unix socket is reached by its path", async () => {
  const address = `unix:${join(folder, "hub.sock")}`;
  await using hub = await Hub.start(address);
  await using client = await connect(hub.address);
  await using session = await client.session();
  assert.equal(await session.call("add", { a: 1, b: 2 }), 3);
});
