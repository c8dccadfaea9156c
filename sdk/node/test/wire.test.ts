import assert from "node:assert/strict";
import { test } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import { SessionConfigSchema, ToolSpecSchema } from "../src/gen/dspex_bridge_pb.js";
import { parse } from "../src/messages.js";
import { Reader, WireError, Writer } from "../src/wire.js";

const EDGES = [0, 1, 127, 128, 16_383, 16_384, 2 ** 31 - 1, 2 ** 32 - 1, 2 ** 32, 2 ** 40 + 5, Number.MAX_SAFE_INTEGER];

test("numbers are read as they were written", () => {
  const writer = new Writer();
  for (const value of EDGES) writer.varint(value);
  const reader = new Reader(writer.finish());
  for (const value of EDGES) assert.equal(reader.varint(), value);
  assert.equal(reader.more, false);
});

test("signed numbers of 64 bits keep every digit", () => {
  const values = [0, -1, -(2 ** 40), 2n ** 63n - 1n, -(2n ** 63n), 2n ** 53n + 1n, -9_007_199_254_740_991];
  const writer = new Writer();
  for (const value of values) writer.int64(value);
  const reader = new Reader(writer.finish());
  for (const value of values) assert.equal(reader.int64(), value);
});

test("texts of every length and script come back", () => {
  const texts = [
    "",
    "a",
    "x".repeat(41),
    "x".repeat(42),
    "é".repeat(100),
    "日本 😀\u0000",
    "\uFFFD",
    "y".repeat(100_000),
  ];
  const writer = new Writer();
  for (const text of texts) writer.string(0x0a, text);
  const reader = new Reader(writer.finish());
  for (const text of texts) {
    assert.equal(reader.tag(), 0x0a);
    assert.equal(reader.string(), text);
  }
});

test("messages nest, whatever the size of the inner one", () => {
  for (const size of [0, 1, 127, 128, 16_383, 16_384, 3_000_000]) {
    const writer = new Writer();
    const outer = writer.begin(0x0a);
    const inner = writer.begin(0x12);
    writer.raw(new Uint8Array(size).fill(7));
    writer.end(inner);
    writer.end(outer);
    const reader = new Reader(writer.finish());
    reader.tag();
    const content = new Reader(reader.bytes());
    content.tag();
    assert.deepEqual(new Set(content.bytes()), new Set(size ? [7] : []));
    assert.equal(reader.more, false);
  }
});

test("what a writer has handed out is not overwritten by the next message", () => {
  const writer = new Writer();
  writer.raw(new Uint8Array(100_000).fill(1));
  const first = writer.finish();
  writer.raw(new Uint8Array(100_000).fill(2));
  writer.finish();
  assert.equal(
    first.every((byte) => byte === 1),
    true,
  );
});

test("bytes that end in the middle of a field are refused", () => {
  for (const bytes of [[0x80], [0x0a, 5, 1], [0x09, 1, 2], [0x0d, 1], [0x0b, 0x08]]) {
    const reader = new Reader(Uint8Array.from(bytes));
    assert.throws(() => reader.skip(reader.tag()), WireError);
  }
  assert.throws(() => new Reader(new Uint8Array(11).fill(0xff)).varint(), WireError);
});

test("a text that is not UTF-8 is refused", () => {
  assert.throws(() => new Reader(Uint8Array.of(2, 0xc3, 0x28)).string(), /not valid UTF-8/);
});

test("a field of another wire type is dropped, and one that is longer than its message refused", () => {
  assert.equal(parse(SessionConfigSchema, Uint8Array.of(0x0a, 1, 0x78, 0x10, 5)).defaultTimeoutMs, 5);
  // The limits of a ToolSpec claim more bytes than they have.
  assert.throws(() => parse(ToolSpecSchema, Uint8Array.of(0x52, 2, 0x0a, 9)), WireError);
  const spec = create(ToolSpecSchema, { name: "x", metadata: { a: "b" }, limits: { timeoutMs: 5 } });
  assert.deepEqual(parse(ToolSpecSchema, toBinary(ToolSpecSchema, spec)), spec);
});
