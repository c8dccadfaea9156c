// Numbers of the views of performance and limits, as people read them.

import assert from "node:assert/strict";
import { test } from "node:test";

import { percent, rate } from "../../src/grpc_tool_bridge/gateway/dashboard/format.js";
import { meaning, setting } from "../../src/grpc_tool_bridge/gateway/dashboard/limit_meanings.js";

test("a part in percent is 0 only if it is none", () => {
  assert.deepEqual([[0, 7], [2, 7], [1, 3000], [7, 7], [0, 0], [5, 100]].map(([part, all]) => percent(part, all)),
    ["0%", "29%", "0.03%", "100%", "0%", "5%"]);
});

test("a rate has three digits at most", () => {
  assert.deepEqual([0, 0.01234, 0.5, 3.456, 20.5, 1234.5].map(rate), ["0", "0.012", "0.5", "3.46", "20.5", "1,235"]);
});

test("a limit that is not known has no meaning, whatever it is called", () => {
  for (const name of ["max_nothing", "__proto__", "constructor"]) {
    assert.equal(meaning(name), "");
    assert.equal(setting(name), name);
  }
  assert.match(meaning("max_sessions"), /refused/);
  assert.equal(setting("capacity"), "worker --capacity");
});
