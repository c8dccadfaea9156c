import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { AccessError, connect, tool, Worker } from "../src/index.js";
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

test("a hub at a unix socket is reached by its path", async () => {
  const address = `unix:${join(folder, "hub.sock")}`;
  await using hub = await Hub.start(address);
  await using client = await connect(hub.address);
  await using session = await client.session();
  assert.equal(await session.call("add", { a: 1, b: 2 }), 3);
});
