// Patterns of schemas: those that are quick are tried, and the others are left to the hub.

import assert from "node:assert/strict";
import { test } from "node:test";

import { MOST_STEPS, matches, stepsOf } from "../../src/grpc_tool_bridge/gateway/dashboard/patterns.js";

const LONG = `${"a".repeat(5_000)}!`;

test("what is usual is tried", () => {
  for (const [pattern, good, bad] of [
    ["^[a-z]+$", "abc", "a1"],
    ["^\\d{4}-\\d{2}$", "2026-01", "2026-1"],
    ["^[^@\\s]+@[^@\\s]+\\.[^@\\s]+$", "somebody.of.a.long.name@mail.example.com", "nobody"],
    ["^(GET|POST)$", "GET", "PUT"],
    ["^v?(\\d+)\\.(\\d+)\\.(\\d+)$", "v1.20.3", "1.2"],
    ["x", "axa", "a"],
    ["^[a-z]+$", "a".repeat(5_000), LONG],
    ["^(?:[0-9a-f]{2}:){5}[0-9a-f]{2}$", "00:11:22:33:44:ff", "00:11"],
    ["^\\p{L}+$", "Öl", "1"],
    ["^(?=.*\\d).{8,}$", "passw0rd", "password"],
  ]) {
    assert.equal(matches(good, pattern), true, pattern);
    assert.equal(matches(bad, pattern), false, pattern);
  }
});

test("one that may take for ever is left to the hub, and so is one that a browser cannot read", () => {
  for (const pattern of [
    "^(a+)+$",
    "^(a|a)*$",
    "^(a?){50}a{50}$",
    "^([a-z]+)*$",
    "(a*)*b",
    "^(?:a|aa)+$",
    "a*a*a*a*b",
    "^(([a-z])+.)+[A-Z]([a-z])+$",
    "(.*)(.*)(.*)(.*)(.*)x",
    "^(?=(a+)+$)",
    "^(?<name>a+)+?$",
    "(?:a{1,9}){1,99}b",
    `${"a?".repeat(60)}${"a".repeat(60)}`,
    `${"(a|b|ab)".repeat(60)}c`,
    "(".repeat(200_000),
    "[".repeat(200_000),
    "(?P<name>a)b",
    "(?i)a",
  ]) {
    assert.equal(matches(LONG, pattern), true, pattern.slice(0, 50));
  }
  for (const none of [undefined, null, 5, {}]) assert.equal(matches("a", none), true);
});

test("of the steps there are never more than was told", () => {
  // The numbers of ways to match that a text of so many "a" has, and that no other pattern here can have more of.
  assert.ok(stepsOf("^(a?){20}$", 20) >= 2 ** 20);
  assert.ok(stepsOf("(a|a){20}b", 20) >= 2 ** 20);
  assert.ok(stepsOf("a*a*a*b", 100) >= 100 ** 4 / 24);
  assert.ok(stepsOf("^(a*)*$", 20) > MOST_STEPS);
});
