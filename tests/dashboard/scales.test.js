// Where numbers are on an axis, and which of them stand beside it.

import assert from "node:assert/strict";
import { test } from "node:test";

import { linear, logarithmic, nearest, niceAbove, pathOf, scaleFor, timeTicks } from "../../src/grpc_tool_bridge/gateway/dashboard/scales.js";

test("a nice number is 1, 2 or 5 times a power of ten, and not less", () => {
  const numbers = [0.0003, 0.09, 0.1, 0.3, 0.6, 1, 1.01, 2, 3, 5, 5.5, 11, 1234, 9e9];
  assert.deepEqual(numbers.map(niceAbove), [0.0005, 0.1, 0.1, 0.5, 1, 1, 2, 2, 5, 5, 10, 20, 2000, 1e10]);
});

test("a linear scale begins at 0 and ends at a tick that is not less than the largest number", () => {
  for (const most of [0.0001, 0.3, 1, 7, 9.99, 10, 33, 1000, 123456]) {
    const scale = linear(most);
    assert.equal(scale.ticks[0], 0);
    assert.equal(scale.ticks.at(-1), scale.max);
    assert.ok(scale.max >= most && scale.ticks.length <= 6, `${most}: ${scale.ticks}`);
    assert.equal(scale.at(scale.max), 1);
    assert.equal(scale.at(0), 0);
  }
  assert.deepEqual(linear(0.3).ticks, [0, 0.1, 0.2, 0.3]);
});

test("a scale of nothing has a place for nothing", () => {
  assert.deepEqual(linear(0, { whole: true }).ticks, [0, 1]);
  assert.deepEqual(scaleFor([], { log: true }).ticks.at(-1), 1);
});

test("a scale of whole numbers has no ticks between them", () => {
  for (const most of [1, 2, 3, 5, 12]) for (const tick of linear(most, { whole: true }).ticks) assert.ok(Number.isInteger(tick));
});

test("a logarithmic scale has a place for the least and the largest number", () => {
  for (const [least, most] of [[0.05, 9000], [3, 400], [0.1, 100000], [7, 8]]) {
    const scale = logarithmic(least, most);
    assert.ok(scale.at(least) >= 0 && scale.at(least) < 0.5);
    assert.ok(scale.at(most) <= 1 + 1e-9);
    assert.ok(scale.ticks.length >= 2 && scale.ticks.length <= 8, `${least} to ${most}: ${scale.ticks}`);
    for (const tick of scale.ticks) assert.ok(scale.at(tick) >= -1e-9 && scale.at(tick) <= 1 + 1e-9);
  }
  assert.deepEqual(logarithmic(0.05, 9000).ticks, [0.1, 1, 10, 100, 1000, 10000]);
  assert.equal(logarithmic(1, 100).at(10), 0.5);
});

test("a scale becomes logarithmic where numbers are far apart, and does not change back at once", () => {
  assert.equal(scaleFor([1, 40], { log: true }).log, false);
  const far = scaleFor([1, 60], { log: true });
  assert.equal(far.log, true);
  assert.equal(scaleFor([1, 40], { log: true, before: far }).log, true);
  assert.equal(scaleFor([1, 10], { log: true, before: far }).log, false);
  assert.equal(scaleFor([1, 60]).log, false);
  // 0 has no place on a logarithmic one, and does not make it one.
  assert.equal(scaleFor([0, 60], { log: true }).log, false);
});

test("lines of time are at multiples of a step, and no more than asked for", () => {
  const to = Date.UTC(2026, 0, 1, 12, 3, 7);
  for (const [minutes, most] of [[1, 4], [5, 5], [10, 3], [10, 10]]) {
    const { step, ticks } = timeTicks(to - minutes * 60_000, to, most);
    assert.ok(ticks.length >= 1 && ticks.length <= most + 1);
    for (const tick of ticks) assert.equal((tick - new Date(to).getTimezoneOffset() * 60_000) % step, 0);
  }
});

test("the nearest point is found", () => {
  const points = [10, 20, 30].map((at) => ({ at }));
  assert.deepEqual([0, 14, 16, 20, 26, 99].map((at) => nearest(points, at)), [0, 0, 1, 1, 2, 2]);
  assert.equal(nearest([], 5), -1);
});

test("a line has gaps where there is no number and where points do not follow one another", () => {
  const points = [
    { at: 0, joined: false, value: 1 }, { at: 1, joined: true, value: 2 }, { at: 2, joined: true, value: null },
    { at: 3, joined: true, value: 3 }, { at: 4, joined: true, value: null },
    { at: 7, joined: false, value: 4 }, { at: 8, joined: true, value: 5 },
  ];
  const path = pathOf(points, (at) => at, (number) => number, ({ value }) => value);
  // One alone is a dot.
  assert.equal(path, "M0.0 1.0L1.0 2.0M3.0 3.0h.01M7.0 4.0L8.0 5.0");
  assert.equal(pathOf([], Number, Number, () => 0), "");
});
