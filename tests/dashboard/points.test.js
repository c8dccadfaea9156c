// Answers of the hub put together to one row of points.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Points, sumOf } from "../../src/grpc_tool_bridge/gateway/dashboard/points.js";

const BEGIN = Date.UTC(2026, 0, 1);

function told(sequence, { at = BEGIN + sequence * 2_000, calls = 10, errors = 1, active = 0 } = {}) {
  return { sequence, at: new Date(at).toISOString(), calls, errors, active, p50_ms: calls ? 1 : null, p95_ms: null, p99_ms: null };
}
const answer = (points, epoch = "a") => ({ interval_ms: 2_000, epoch, points });
const clockOf = (point) => Date.parse(point.at);

test("what is new is asked for by sequence and epoch, and added once", () => {
  const points = new Points();
  assert.deepEqual(points.query, {});
  points.take(answer([told(1), told(2)]), BEGIN + 4_000);
  assert.deepEqual(points.query, { since: 2, epoch: "a" });
  // An answer that overlaps, as after one that was lost.
  points.take(answer([told(2), told(3)]), BEGIN + 6_000);
  points.take(answer([]), BEGIN + 6_000);
  assert.deepEqual(points.list.map(({ key }) => key), ["a 1", "a 2", "a 3"]);
  assert.deepEqual(points.list.map(({ joined }) => joined), [false, true, true]);
});

test("another epoch begins its numbers anew, after a gap, and what was before stays", () => {
  const points = new Points();
  points.take(answer([told(1), told(2)]), BEGIN + 4_000);
  points.take(answer([told(1, { at: BEGIN + 60_000 })], "b"), BEGIN + 60_000);
  assert.deepEqual(points.list.map(({ key, joined }) => [key, joined]), [["a 1", false], ["a 2", true], ["b 1", false]]);
  assert.deepEqual(points.query, { since: 1, epoch: "b" });
  // A hub that has no point yet.
  points.take(answer([], "c"));
  assert.deepEqual(points.query, { since: 0, epoch: "c" });
  assert.equal(points.list.length, 3);
});

test("points of another epoch whose clock is behind replace those that would come after them", () => {
  const points = new Points();
  points.take(answer([told(1), told(2), told(3)]));
  points.take(answer([told(1, { at: BEGIN + 5_000 })], "b"));
  assert.deepEqual(points.list.map(({ key }) => key), ["a 1", "a 2", "b 1"]);
});

test("points that were missed leave a gap", () => {
  const points = new Points();
  points.take(answer([told(1), told(2)]));
  points.take(answer([told(9), told(10)]));
  assert.deepEqual(points.list.map(({ joined }) => joined), [false, true, false, true]);
});

test("a rate is by the time that the point is of, also if the hub was late", () => {
  const points = new Points();
  points.take(answer([told(1), told(2), told(3, { at: BEGIN + 9_000 }), told(4, { at: BEGIN + 9_000 })]));
  assert.deepEqual(points.list.map(({ rate }) => rate), [5, 5, 2, 10]);
  assert.equal(points.list[2].errorRate, 0.2);
});

test("points are kept for ten minutes", () => {
  const points = new Points();
  points.take(answer(Array.from({ length: 400 }, (_, index) => told(index + 1))));
  assert.equal(points.list.length, 300);
  assert.equal(points.list.at(-1).key, "a 400");
});

test("the hub's clock is known by its newest point, however wrong this clock is", () => {
  const points = new Points();
  assert.equal(points.now(5), 5);
  points.take(answer([told(1)]), clockOf(told(1)) + 3_600_000 + 1_500);
  points.take(answer([told(2)]), clockOf(told(2)) + 3_600_000 + 300);
  points.take(answer([told(3)]), clockOf(told(3)) + 3_600_000 + 900);
  assert.equal(points.now(clockOf(told(3)) + 3_600_000 + 300), clockOf(told(3)));
});

test("sums are of what is shown", () => {
  const points = new Points();
  points.take(answer([told(1, { calls: 3, errors: 2 }), told(2, { calls: 4, errors: 0, active: 7 })]));
  assert.deepEqual(sumOf(points.list), { calls: 7, errors: 2, active: 7 });
  assert.deepEqual(sumOf(points.between(BEGIN + 4_000, BEGIN + 4_000)), { calls: 4, errors: 0, active: 7 });
  assert.deepEqual(sumOf([]), { calls: 0, errors: 0, active: 0 });
});
