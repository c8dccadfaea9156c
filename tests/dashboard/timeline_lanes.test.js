import assert from "node:assert/strict";
import { test } from "node:test";

import { placed } from "../../src/grpc_tool_bridge/gateway/dashboard/timeline_lanes.js";

let keys = 0;

function bar(name, from, to) {
  keys += 1;
  return { key: keys, name, from, to };
}

const rowsOf = (bars, most = 100, lanes = new Map()) => {
  const { rows } = placed(bars, most, lanes);
  return bars.map(({ key }) => rows.get(key));
};

test("calls of a group that overlap lie in lanes of their own, and those that follow each other in one", () => {
  assert.deepEqual(rowsOf([bar("a", 0, 10), bar("a", 5, 15), bar("a", 10, 20), bar("a", 16, 18)]), [0, 1, 0, 1]);
});

test("groups come by their names, each below the lanes of the one before", () => {
  const bars = [bar("b", 0, 1), bar("a", 0, 10), bar("a", 5, 15)];
  assert.deepEqual(rowsOf(bars), [2, 0, 1]);
  assert.deepEqual(placed(bars, 100, new Map()).groups.map(({ name, row, rows }) => [name, row, rows]), [["a", 0, 2], ["b", 2, 1]]);
});

test("a bar keeps its lane when others have gone", () => {
  const lanes = new Map();
  const bars = [bar("a", 0, 10), bar("a", 5, 15), bar("a", 12, 20)];
  assert.deepEqual(rowsOf(bars, 100, lanes), [0, 1, 0]);
  assert.deepEqual(rowsOf(bars.slice(1), 100, lanes), [1, 0]);
});

test("where there is little room, groups have fewer lanes, and then the rarest ones share a row", () => {
  const bars = [bar("a", 0, 9), bar("a", 1, 9), bar("a", 2, 9), bar("b", 0, 9), bar("b", 1, 9)];
  assert.deepEqual(rowsOf(bars, 3), [0, 0, 0, 1, 1]);
  const many = [...bars, bar("c", 0, 1), bar("d", 0, 1)];
  const { groups, rows } = placed(many, 3, new Map());
  assert.deepEqual(groups.map(({ name }) => name), ["a", "b", "2 others"]);
  assert.deepEqual([rows.get(many[5].key), rows.get(many[6].key)], [2, 2]);
});

test("without calls there are no groups", () => {
  assert.deepEqual(placed([], 10, new Map()), { groups: [], rows: new Map() });
});
