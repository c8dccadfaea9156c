import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { type Client, connect, type Session, tool, Worker } from "../src/index.js";
import { collect } from "./support/collect.js";
import { Hub } from "./support/hub.js";

let hub: Hub;
let client: Client;
let session: Session;

before(async () => {
  hub = await Hub.start();
  client = await connect(hub.address);
  session = await client.session();
});

after(async () => {
  await client[Symbol.asyncDispose]();
  await hub.kill();
});

/** What JavaScript lets through, and TypeScript does not. */
function wrong<T>(value: unknown): T {
  return value as T;
}

const LONE = "a\ud800";
const calls: Record<string, [() => Promise<unknown>, RegExp]> = {
  "a name that is no text": [() => session.call(wrong({})), /name or the id of a tool, not an object/],
  "a name that has no UTF-8 form": [() => session.call(LONE), /name or the id of a tool/],
  "a timeout that is a text": [() => session.call("add", [1, 2], { timeoutMs: wrong("5") }), /timeoutMs must be .*"5"/],
  "half a try": [() => session.call("add", [1, 2], { retries: 1.5 }), /retries must be a whole number from 0, not 1.5/],
  "fewer tries than none": [() => session.call("add", [1, 2], { retries: -1 }), /retries/],
  "a signal that is none": [() => session.call("add", [1, 2], { signal: wrong({}) }), /signal must be an AbortSignal/],
  "a signal of a stream that is none": [
    async () => collect(session.stream("count", [1], { signal: wrong({}) })),
    /signal must be an AbortSignal/,
  ],
  "a batch that is no array": [() => session.batch(wrong({})), /a batch must be an array of calls, not an object/],
  "a batch of numbers": [() => session.batch(wrong([1])), /item 0 of the batch must be an object/],
  "a batch without a tool": [() => session.batch(wrong([{ args: {} }])), /name or the id of a tool, not undefined/],
  "a session with a number": [() => client.session(wrong(5)), /id of a session must be a text of .*, not 5/],
  "a session without a name": [() => client.session(""), /id of a session/],
  "a variable that has no UTF-8 form": [() => session.variables.set(LONE, 1), /name of a variable/],
  "a signal that does not end dialling": [() => connect("127.0.0.1:1", { signal: wrong({}) }), /AbortSignal/],
  "a port that there is not": [() => connect("127.0.0.1:65536"), /address must be 'host:port'/],
  "a token of two lines": [() => connect(hub.address, { token: "a\nb" }), /token must be a text of printable ASCII/],
  "an empty token": [() => connect(hub.address, { token: "" }), /token must be a text/],
  "tools that are no array": [async () => new Worker(wrong({ address: hub.address })), /tools must be an array/],
  "a tool whose name has no UTF-8 form": [async () => tool({ name: LONE, run: () => 1 }), /name of a tool/],
};

for (const [what, [act, message]] of Object.entries(calls)) {
  test(`${what} is refused, with what to give instead`, async () => {
    await assert.rejects(act(), { type: "ValidationError", message });
    assert.equal(await session.call("add", [1, 2]), 3);
  });
}

test("an argument whose name has no UTF-8 form is refused", async () => {
  await assert.rejects(session.call("add", { [LONE]: 1 }), { type: "SerializationError", message: /lone surrogate/ });
});

test("a worker that finds no hub says how long it has tried, and lets the process end", async () => {
  const worker = new Worker({ address: "127.0.0.1:1", tools: [], logger: { info() {}, warn() {} } });
  await assert.rejects(worker.start({ connectTimeoutMs: 320 }), { code: "UNAVAILABLE", message: /within 0\.\d+ s: / });
});
