import assert from "node:assert/strict";
import { test } from "node:test";
import { Metadata, status } from "@grpc/grpc-js";
import {
  type Envelope,
  GetSessionToolsResponseSchema,
  HealthCheckResponse_Status,
  HealthCheckResponseSchema,
  ToolCallRequestSchema,
  ToolCallResponseSchema,
  ToolStreamChunkSchema,
} from "../src/gen/dspex_bridge_pb.js";
import { connect, ToolBridgeError, ToolCommunicationError, tool, Worker } from "../src/index.js";
import { Gate } from "./support/gate.js";
import { type HostileLink, hostileHub, written } from "./support/hostile.js";

const PREFIX = "type.googleapis.com/";
/** Enough for anything that must not wait for its deadline. */
const PATIENT = { timeoutMs: 60_000 };

function isCall(envelope: Envelope): boolean {
  return envelope.kind.case === "call";
}

/** Bytes after their length. */
function field(tag: number, data: Uint8Array): Buffer<ArrayBuffer> {
  const prefix = [tag];
  let size = data.length;
  for (; size >= 0x80; size = Math.floor(size / 0x80)) prefix.push((size % 0x80) | 0x80);
  return Buffer.concat([Uint8Array.from([...prefix, size]), data]);
}

/** A list in a list in a list. */
function deeply(levels: number): Uint8Array {
  let data: Uint8Array = new Uint8Array();
  for (let level = 0; level < levels; level++) data = field(0x32, field(0x0a, data));
  return field(0x0a, data);
}

function answer(typeUrl: string, value: Uint8Array): Uint8Array {
  return written(ToolCallResponseSchema, { success: true, result: { typeUrl: PREFIX + typeUrl, value } });
}

const malformed: Record<string, Uint8Array> = {
  "an answer that is no message": Uint8Array.of(0xff, 0xff, 0xff),
  "an answer with nothing in it": new Uint8Array(),
  "a success without a result": Uint8Array.of(0x08, 1),
  "a failure without an error": Uint8Array.of(0x08, 0),
  "an error without a type": Uint8Array.of(0x1a, 0),
  "a result that is no message": answer("google.protobuf.ListValue", Uint8Array.of(0xff)),
  "a text that is not UTF-8": answer("google.protobuf.StringValue", Uint8Array.of(0x0a, 1, 0xff)),
  "lists 5,000 deep": answer("google.protobuf.ListValue", deeply(5_000)),
  "JSON 100,000 deep": answer("dspex.bridge.Json", field(0x0a, Buffer.alloc(100_000, "["))),
  "a number of 1,000,000 digits": answer("dspex.bridge.Json", field(0x0a, Buffer.alloc(1_000_000, "9"))),
  "a tensor that is not all there": answer(
    "dspex.bridge.Tensor",
    Uint8Array.of(0x0a, 3, 0x3c, 0x66, 0x38, 0x12, 6, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f),
  ),
};

for (const [what, payload] of Object.entries(malformed)) {
  test(`${what} is an error of its call, and the link goes on`, async () => {
    await using hub = await hostileHub(
      (link) => link.hello(),
      (link, { id, kind }) => {
        if (kind.case !== "call") return;
        const healthy = written(HealthCheckResponseSchema, { status: HealthCheckResponse_Status.SERVING });
        link.reply(id, kind.value.method === "HealthCheck" ? healthy : payload);
      },
    );
    await using client = await connect(hub.address);
    const session = await client.session("s", { keep: true });
    await assert.rejects(session.call("any", [], PATIENT), ToolBridgeError);
    assert.ok(await client.isHealthy());
  });
}

type Violate = (link: HostileLink, id: bigint) => void;
const ask = { kind: { case: "ask" as const, value: { id: "1", message: "?" } } };
const violations: Record<string, Violate> = {
  garbage: (link) => link.raw(0xff, 0xfe, 0xfd, 0, 1),
  "an envelope that is longer than its frame": (link) => link.raw(0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f, 0),
  "a length of ten bytes": (link) => link.raw(0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f),
  "an envelope with nothing in it": (link) => link.raw(0x0a, 2, 8, 1),
  "a second hello": (link) => link.hello(),
  "an answer to a call that was never made": (link, id) => link.reply(id + 1_000n, new Uint8Array()),
  "an answer to its own call": (link, id) => link.reply(id + 1n, new Uint8Array()),
  "an answer to 2**64-1": (link) => link.reply(2n ** 64n - 1n, new Uint8Array()),
  "a chunk of a unary call": (link, id) => link.send({ id, kind: { case: "chunk", value: new Uint8Array() } }),
  "an end without an answer": (link, id) => link.send({ id, kind: { case: "end", value: {} } }),
  "a cancel of a call that it never made": (link, id) =>
    link.send({ id: id + 1n, kind: { case: "cancel", value: {} } }),
  "credit for a call that it never made": (link, id) => link.send({ id: id + 1n, kind: { case: "credit", value: 1 } }),
  "a call with a number of the client": (link, id) =>
    link.send({ id: id + 2n, kind: { case: "call", value: { method: "ExecuteTool" } } }),
  "a question to a client that does not answer": (link, id) => link.send({ id, kind: { case: "event", value: ask } }),
  "pieces of 65 MiB": (link, id) => {
    const piece = new Uint8Array(512 * 1024);
    for (let number = 0; number < 130; number++) link.send({ id, kind: { case: "part", value: piece } });
  },
  "a hundred thousand empty pieces": (link, id) => {
    const pieces = Array.from({ length: 1_000 }, () => ({
      id,
      kind: { case: "part" as const, value: new Uint8Array() },
    }));
    for (let number = 0; number < 100; number++) link.send(...pieces);
  },
  "a frame beyond all limits": (link) => link.stream.write(Buffer.alloc(41 * 1024 * 1024)),
  "the end of the link": (link) => link.stream.end(),
  "a status whose error cannot be read": (link) => {
    const metadata = new Metadata();
    metadata.set("tool-bridge-error-bin", Buffer.of(0xff, 0xff));
    link.stream.emit("error", { code: status.UNKNOWN, details: "x".repeat(1_000), metadata });
  },
};

for (const [what, violate] of Object.entries(violations)) {
  test(`${what} ends the link and nothing else`, async () => {
    await using hub = await hostileHub(
      (link) => link.hello(),
      (link, envelope) => {
        if (isCall(envelope)) violate(link, envelope.id);
      },
    );
    await using client = await connect(hub.address);
    const session = await client.session("s", { keep: true });
    for (let time = 0; time < 2; time++) {
      await assert.rejects(session.call("any", [], PATIENT), ToolCommunicationError);
    }
  });
}

const silences: Record<string, (link: HostileLink) => void> = {
  "from the start": () => undefined,
  "after the hello": (link) => link.hello(),
  "after a hello of another protocol": (link) => link.hello(2),
  "since it drains": (link) => {
    link.hello();
    link.send({ kind: { case: "drain", value: {} } });
  },
};

for (const [when, onLink] of Object.entries(silences)) {
  test(`a hub that is silent ${when} does not hold a call beyond its deadline`, async () => {
    await using hub = await hostileHub(onLink);
    const call = async () => {
      await using client = await connect(hub.address, { connectTimeoutMs: 500 });
      const session = await client.session("s", { keep: true });
      await session.call("any", [], { timeoutMs: 200 });
    };
    await assert.rejects(call(), ToolBridgeError);
  });
}

const DATA = { typeUrl: `${PREFIX}google.protobuf.BytesValue`, value: new Uint8Array() };

function chunk(id: bigint, sequence: number, value = DATA.value) {
  const data = { case: "data" as const, value: { ...DATA, value } };
  return { id, kind: { case: "chunk" as const, value: written(ToolStreamChunkSchema, { sequence, content: data }) } };
}

const broken: Record<string, Violate> = {
  "ends without its last chunk": (link, id) => link.send(chunk(id, 0), { id, kind: { case: "end", value: {} } }),
  "has a gap": (link, id) => link.send(chunk(id, 0), chunk(id, 2)),
  "repeats a chunk": (link, id) => link.send(chunk(id, 0), chunk(id, 0)),
  "has an empty chunk": (link, id) => link.send({ id, kind: { case: "chunk", value: new Uint8Array() } }),
  "has a chunk that cannot be read": (link, id) =>
    link.send({ id, kind: { case: "chunk", value: Uint8Array.of(0xff) } }),
  "is answered by a reply": (link, id) => link.reply(id, new Uint8Array()),
  "sends more than it was granted": (link, id) => {
    const large = field(0x0a, new Uint8Array(1024 * 1024));
    link.send(...Array.from({ length: 30 }, (_, sequence) => chunk(id, sequence, large)));
  },
};

for (const [what, send] of Object.entries(broken)) {
  test(`a stream that ${what} ends with an error`, async () => {
    await using hub = await hostileHub(
      (link) => link.hello(),
      (link, envelope) => {
        if (isCall(envelope)) send(link, envelope.id);
      },
    );
    await using client = await connect(hub.address);
    const session = await client.session("s", { keep: true });
    let read = 0;
    const readAll = async () => {
      for await (const _ of session.stream("any", [], PATIENT)) read++;
    };
    await assert.rejects(readAll(), ToolBridgeError);
    assert.ok(read <= 2, `${read} values came`);
  });
}

test("a hub that asks without end loses the call", async () => {
  await using hub = await hostileHub(
    (link) => link.hello(),
    (link, envelope) => {
      if (!isCall(envelope)) return;
      for (let number = 0; number < 200; number++) {
        link.send({ id: envelope.id, kind: { case: "event", value: ask } });
      }
    },
  );
  await using client = await connect(hub.address, { onAsk: () => new Promise(() => undefined) });
  const session = await client.session("s", { keep: true });
  await assert.rejects(session.call("any", [], PATIENT), { type: "ProtocolError", message: /more than 100 questions/ });
});

test("a list of tools that never ends is an error", async () => {
  const page = { nextPageToken: "on", tools: Array.from({ length: 150_000 }, () => ({ name: "x" })) };
  const payload = written(GetSessionToolsResponseSchema, page);
  await using hub = await hostileHub(
    (link) => link.hello(),
    (link, envelope) => {
      if (isCall(envelope)) link.reply(envelope.id, payload);
    },
  );
  await using client = await connect(hub.address);
  const session = await client.session("s", { keep: true });
  await assert.rejects(session.tools(), { type: "ProtocolError", message: /does not end/ });
});

test("a worker outlives a hub that calls it with garbage", async () => {
  const requests = [
    new Uint8Array(),
    Uint8Array.of(0xff),
    Buffer.alloc(1_000, 0x0a),
    written(ToolCallRequestSchema, { toolId: "add", args: [{}, {}], kwargs: { c: {} } }),
  ];
  const methods = ["ExecuteTool", "StreamTool", "", "Link", "x".repeat(10_000)];
  const count = requests.length * methods.length;
  const answered = new Set<bigint>();
  const all = new Gate<void>();
  await using hub = await hostileHub(
    (link) => {
      link.hello();
      let id = 0n;
      for (const payload of requests) {
        for (const method of methods) {
          id += 2n;
          link.send({ id, kind: { case: "call", value: { method, payload } } });
        }
      }
    },
    (_, { id, kind }) => {
      if (kind.case !== "end" && kind.case !== "reply") return;
      answered.add(id);
      if (answered.size === count) all.open();
    },
  );
  const add = tool({ name: "add", run: () => 1 });
  const worker = new Worker({ address: hub.address, tools: [add], graceMs: 1, logger: { info() {}, warn() {} } });
  await worker.start();
  await all.passed();
  await worker.close();
});
