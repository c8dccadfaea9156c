import assert from "node:assert/strict";
import { test } from "node:test";

import { filterOf, isFiltered, slowOf } from "../../src/grpc_tool_bridge/gateway/dashboard/call_filter.js";
import { Calls, MAX_CALLS, MAX_VALUE_CHARS, rowsOf } from "../../src/grpc_tool_bridge/gateway/dashboard/calls.js";

const START = Date.parse("2026-03-01T12:00:00Z");
const AGENT = "agent-0123456789abcdef";
const moment = (ms) => new Date(START + ms).toISOString();

function info(id, state, given = {}) {
  const { at = 0, us = 0, ...others } = given;
  return { call_id: id, session_id: "demo", tool_id: "add", request_id: "", parent_id: "", worker_id: "", state, started_at: moment(at),
    time_left_ms: 30_000, args: [], kwargs: {}, duration_us: us, ...others };
}

const event = (operation, call, given = {}) => ({ sequence: 1, timestamp: moment(0), operation, call, dropped: 0, omitted_calls: 0, ...given });

function begun(epoch = "one") {
  const calls = new Calls();
  calls.begin(epoch);
  return calls;
}

function start(calls, id, given) {
  calls.take(event("started", info(id, "running", given)));
  return calls.get(id);
}

const end = (calls, id, state = "done", given = {}) => calls.take(event("ended", info(id, state, { us: 5_000, ...given })));
const ids = (rows) => rows.map((call) => call.id);
const every = () => true;
const filtered = (query, now = START) => filterOf((name) => query[name] ?? "", now);

test("a call is told of as it starts, moves and ends", () => {
  const calls = begun();
  calls.take(event("started", info("1", "waiting", { kwargs: { a: 1 } })));
  const moved = info("1", "running", { worker_id: "w", progress: { current: 1, total: 2, message: "half" } });
  calls.take(event("moved", moved, { timestamp: moment(40) }));
  const call = calls.get("1");
  assert.deepEqual([call.state, call.worker, call.ranAt - call.startedAt, call.progress.message], ["running", "w", 40, "half"]);
  assert.equal(call.elapsedUs(START + 100), 100_000);
  calls.take(event("ended", info("1", "done", { us: 7_000 }), { result: 0 }));
  assert.deepEqual([call.state, call.resultText, call.durationUs, call.argumentsText, call.worker], ["done", "0", 7_000, '{"a":1}', "w"]);
  assert.equal(calls.running.size, 0);
});

test("what a late or doubled message says does not bring back a call that is over", () => {
  const calls = begun();
  start(calls, "1");
  end(calls, "1");
  calls.take(event("moved", info("1", "running")));
  calls.takeAll([info("1", "running")]);
  assert.deepEqual([calls.get("1").state, calls.size, calls.running.size], ["done", 1, 0]);
});

test("calls are listed newest first, and those made by a call under it", () => {
  const calls = begun();
  start(calls, "1");
  start(calls, "2", { parent_id: "1" });
  start(calls, "3", { parent_id: "2" });
  start(calls, "4", { at: 1 });
  const rows = rowsOf(calls, every);
  assert.deepEqual(ids(rows), ["4", "1", "2", "3"]);
  assert.deepEqual(rows.map((call) => call.level), [0, 0, 1, 2]);
});

test("a parent that is told of after its children takes them", () => {
  const calls = begun();
  calls.takeAll([info("2", "failed", { parent_id: "1", at: 5 }), info("3", "failed", { parent_id: "2", at: 6 })]);
  assert.deepEqual(ids(rowsOf(calls, every)), ["2", "3"]);
  calls.takeAll([info("1", "done")]);
  assert.deepEqual(rowsOf(calls, every).map((call) => [call.id, call.level]), [["1", 0], ["2", 1], ["3", 2]]);
});

test("calls that name each other as parents, or themselves, are no circle", () => {
  const calls = begun();
  start(calls, "1", { parent_id: "2" });
  start(calls, "2", { parent_id: "1" });
  start(calls, "3", { parent_id: "3" });
  assert.deepEqual(ids(rowsOf(calls, every)).sort(), ["1", "2", "3"]);
});

test("a call from a list comes where it belongs by its start", () => {
  const calls = begun();
  for (const at of [10, 20, 30]) start(calls, `${at}`, { at });
  calls.takeAll([info("25", "failed", { at: 25 }), info("5", "failed", { at: 5 })]);
  assert.deepEqual(ids(rowsOf(calls, every)), ["30", "25", "20", "10", "5"]);
});

test("a hub that was started anew gives old numbers to new calls, and each keeps its own", () => {
  const calls = begun("one");
  const old = start(calls, "1");
  calls.begin("one");
  assert.equal(old.state, "running");
  calls.begin("two");
  assert.equal(old.state, "unknown");
  const fresh = start(calls, "1", { at: 9 });
  end(calls, "1");
  assert.deepEqual([calls.get("1"), calls.get("1", "two"), calls.get("1", "one"), calls.get("1", "zero")], [fresh, fresh, old, null]);
  assert.deepEqual([fresh.state, old.state, calls.size], ["done", "unknown", 2]);
  assert.notEqual(fresh.key, old.key);
});

test("what runs here but not in the hub's list has ended, unless the list is only a part", () => {
  const calls = begun();
  const [first, second, third] = ["1", "2", "3"].map((id, at) => start(calls, id, { at }));
  const known = new Set(calls.running);
  const later = start(calls, "4", { at: 4 });
  calls.reconcile([info("2", "running", { at: 1 })], known, { isWhole: false });
  assert.deepEqual([first, second, third, later].map((call) => call.state), ["unknown", "running", "running", "running"]);
  calls.reconcile([info("2", "running", { at: 1 })], known);
  assert.deepEqual([first, second, third, later].map((call) => call.state), ["unknown", "running", "unknown", "running"]);
  // Its end was only late.
  end(calls, "3");
  assert.equal(third.state, "done");
});

test("of a poll only what has been going on for long is taken, and polled for until it is over", () => {
  const calls = begun();
  calls.reconcile([info("1", "running"), info("2", "running", { at: 5_000 })], new Set(), { startedBefore: START + 3_000 });
  assert.deepEqual(ids(rowsOf(calls, every)), ["1"]);
  assert.equal(calls.hasUnwatched, true);
  calls.reconcile([], new Set(calls.running));
  assert.deepEqual([calls.get("1").state, calls.hasUnwatched], ["unknown", false]);
});

test("the id of a run can be used again", () => {
  const calls = begun();
  start(calls, "mine", { tool_id: AGENT, request_id: "mine" });
  end(calls, "mine", "failed");
  const again = start(calls, "mine", { tool_id: AGENT, at: 60_000, request_id: "mine" });
  assert.deepEqual([calls.size, calls.get("mine"), again.state, again.run], [1, again, "running", "mine"]);
  // A list of what has ended tells of the run before.
  calls.takeAll([info("mine", "failed", { tool_id: AGENT })]);
  assert.equal(again.state, "running");
});

test("numbers of arguments and results are as they were written", () => {
  const calls = begun();
  const told = event("started", info("1", "running", { args: [1], kwargs: { a: 2 } }));
  calls.take(told, JSON.stringify(told).replace('"args":[1]', '"args":[9007199254740993]').replace('"a":2', '"a":3.0'));
  assert.equal(calls.get("1").argumentsText, '{"*":[9007199254740993],"a":3.0}');
  const over = event("ended", info("1", "done"), { result: 1 });
  calls.take(over, JSON.stringify(over).replace('"result":1', '"result":12345678901234567890'));
  assert.equal(calls.get("1").resultText, "12345678901234567890");
  calls.takeAll([info("2", "running", { args: ["x"] })]);
  assert.equal(calls.get("2").argumentsText, '["x"]');
});

test("what was left out and lost is counted", () => {
  const calls = begun();
  calls.take(event("started", info("1", "running"), { omitted_calls: 7, dropped: 2 }));
  calls.take({ sequence: 2, timestamp: moment(1), operation: "changed", worker: {}, dropped: 1, omitted_calls: 3 });
  assert.deepEqual([calls.omitted, calls.dropped, calls.rate()], [10, 3, { told: 0.5, omitted: 5 }]);
});

test("a call that is told of by its end alone is one that was told of, unless it was left out and is told of besides", () => {
  const calls = begun();
  calls.take(event("ended", info("1", "done", { us: 9 })));
  start(calls, "2");
  end(calls, "2");
  assert.deepEqual(calls.rate(), { told: 1, omitted: 0 });
  calls.take(event("ended", info("3", "failed", { us: 9 }), { omitted_calls: 2 }));
  calls.take(event("ended", info("4", "failed", { us: 9 })));
  assert.deepEqual(calls.rate(), { told: 1, omitted: 1 });
  calls.take(event("ended", info("5", "done", { us: 9, kwargs: { a: 1 } })));
  assert.deepEqual([calls.rate(), calls.get("5").argumentsText], [{ told: 1.5, omitted: 1 }, '{"a":1}']);
});

test("of too many calls those that began first and are over are forgotten", () => {
  const calls = begun();
  const running = start(calls, "running");
  for (let number = 0; number <= MAX_CALLS; number++) {
    const given = { at: number + 1, parent_id: number % 2 ? "running" : "" };
    start(calls, `${number}`, given);
    end(calls, `${number}`, "done", given);
  }
  assert.ok(calls.size <= MAX_CALLS && calls.size >= MAX_CALLS * 0.8, `${calls.size}`);
  assert.deepEqual([calls.get("running"), calls.get("0"), calls.get(`${MAX_CALLS}`).state], [running, null, "done"]);
  assert.equal(rowsOf(calls, every).length + (running.isFolded ? running.children.length : 0), calls.size);
});

test("of what a run that goes on for long has done, the first is forgotten first", () => {
  const calls = begun();
  const run = start(calls, "run");
  for (let number = 0; number <= MAX_CALLS; number++) {
    start(calls, `${number}`, { parent_id: "run" });
    end(calls, `${number}`, "done", { parent_id: "run" });
  }
  assert.ok(calls.size <= MAX_CALLS, `${calls.size}`);
  assert.deepEqual([calls.get("0"), run.children.at(-1).id, calls.size], [null, `${MAX_CALLS}`, run.children.length + 1]);
});

test("the arguments and results of the oldest are forgotten when they are too many", () => {
  const calls = begun();
  const size = MAX_VALUE_CHARS / 4;
  for (let number = 1; number <= 6; number++) {
    const told = event("started", info(`${number}`, "running", { kwargs: { a: number } }));
    calls.take(told, JSON.stringify(told).padEnd(size));
  }
  assert.deepEqual(["1", "2", "3", "6"].map((id) => [calls.get(id).argumentsText, calls.get(id).isStripped]),
    [[null, true], [null, true], ['{"a":3}', false], ['{"a":6}', false]]);
});

test("what many others are under begins folded, and what somebody unfolds stays so", () => {
  const calls = begun();
  const parent = start(calls, "p");
  for (let number = 0; number < 60; number++) start(calls, `${number}`, { parent_id: "p" });
  assert.deepEqual([rowsOf(calls, every).length, parent.isOpen], [1, false]);
  parent.folded = false;
  assert.deepEqual([rowsOf(calls, every).length, parent.isOpen], [61, true]);
});

test("a filter keeps what is above a call that it wants, and shows what is under one on demand", () => {
  const calls = begun();
  const parent = start(calls, "1", { tool_id: "research" });
  start(calls, "2", { tool_id: "lookup", parent_id: "1" });
  start(calls, "3", { tool_id: "other" });
  assert.deepEqual(ids(rowsOf(calls, filtered({ tool: "lookup" }))), ["1", "2"]);
  assert.deepEqual([ids(rowsOf(calls, filtered({ tool: "research" }))), parent.isOpen], [["1"], false]);
  parent.folded = false;
  assert.deepEqual([ids(rowsOf(calls, filtered({ tool: "research" }))), parent.isOpen], [["1", "2"], true]);
  parent.folded = true;
  assert.deepEqual([ids(rowsOf(calls, filtered({ tool: "lookup" }))), parent.isOpen], [["1"], false]);
});

test("calls are found by words, state, names and how long they took", () => {
  const calls = begun();
  start(calls, "1", { tool_id: "Search", session_id: "demo", worker_id: "w" });
  start(calls, "2", { at: 1, session_id: "other" });
  const failed = info("2", "failed", { at: 1, us: 900_000, session_id: "other", error: { type: "LookupError", message: "No ENTRY" } });
  calls.take(event("ended", failed));
  const found = (query, now) => ids(rowsOf(calls, filtered(query, now)));
  assert.deepEqual(found({ q: "search W" }), ["1"]);
  assert.deepEqual(found({ q: " no  entry lookuperror " }), ["2"]);
  assert.deepEqual(found({ q: "no such" }), []);
  assert.deepEqual(found({ state: "failed" }), ["2"]);
  assert.deepEqual(["session", "tool", "worker"].map((name) => found({ [name]: { session: "demo", tool: "Search", worker: "w" }[name] })),
    [["1"], ["1"], ["1"]]);
  assert.deepEqual(found({ slow: "800" }), ["2"]);
  assert.deepEqual(found({ slow: "800" }, START + 5_000), ["2", "1"]);
  assert.deepEqual(found({ slow: "-1" }), ["2", "1"]);
  assert.deepEqual([isFiltered(() => ""), isFiltered((name) => (name === "worker" ? "w" : "")), slowOf(() => "x")], [false, true, 0]);
});

test("names are no properties", () => {
  const calls = begun("__proto__");
  start(calls, "__proto__", { tool_id: "__proto__", kwargs: JSON.parse('{"__proto__": 1}') });
  start(calls, "constructor", { parent_id: "__proto__" });
  assert.deepEqual(ids(rowsOf(calls, every)), ["__proto__", "constructor"]);
  assert.deepEqual(ids(rowsOf(calls, filtered({ tool: "__proto__" }))), ["__proto__"]);
});
