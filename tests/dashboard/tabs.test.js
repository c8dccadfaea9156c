import assert from "node:assert/strict";
import { test } from "node:test";

import { isLeast } from "../../src/grpc_tool_bridge/gateway/dashboard/tabs.js";

const page = (hiddenAt, isConnected = true) => ({ hiddenAt, isConnected });

test("of too many connected pages the one lets go that was seen longest ago", () => {
  const others = [page(0), page(7), page(9)];
  assert.equal(isLeast(page(5), others), true);
  assert.equal(isLeast(page(8), others), false);
});

test("a page that is seen, or is not connected, lets nothing go", () => {
  const others = [page(0), page(7), page(9)];
  assert.equal(isLeast(page(0), others), false);
  assert.equal(isLeast(page(5, false), others), false);
});

test("a few pages stay connected", () => {
  assert.equal(isLeast(page(5), [page(0), page(7), page(9, false)]), false);
});
