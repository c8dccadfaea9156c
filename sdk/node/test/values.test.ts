import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { AnySchema } from "@bufbuild/protobuf/wkt";
import {
  AlreadyExistsError,
  ArrowTable,
  Complex,
  DateTime,
  Decimal,
  deserializeValue,
  Float,
  FrozenSet,
  PlainDate,
  PlainTime,
  registerCodec,
  SerializationError,
  serializeValue,
  Tensor,
  TimeDelta,
  Tuple,
  UUID,
  ValidationError,
} from "../src/index.js";

function roundTrip(value: unknown, exact = false): unknown {
  return deserializeValue(serializeValue(value), { exact });
}

function nameOf(value: unknown): string {
  return serializeValue(value).typeUrl.split(".").at(-1)!;
}

const SAME: unknown[] = [
  null,
  true,
  false,
  0,
  -1,
  1.5,
  Number.MAX_SAFE_INTEGER,
  2n ** 53n,
  -(2n ** 63n),
  2n ** 200n,
  -0,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  1e300,
  "",
  "日本 😀",
  Uint8Array.of(0, 255),
  [],
  {},
  [1, [2, [null, "x"]]],
  { a: { b: { c: [1.5] } } },
  { z: 1, a: 2, m: [true] },
  [2n ** 64n, 1],
  [Number.NaN, -0, 1e300],
  { data: Uint8Array.of(1) },
  Array.from({ length: 1_000 }, (_, index) => ({ index, text: `t${index}` })),
  new Map<unknown, unknown>([
    [1, "one"],
    ["1", "text"],
    [null, [Uint8Array.of(1)]],
  ]),
  new Set([1, "a"]),
  new FrozenSet([2n ** 70n]),
  Tuple.of<unknown>(1, Tuple.of(), "x"),
  new DateTime("2026-10-25T02:30:00.000001+01:00", { zone: "Europe/Berlin", fold: true }),
  new DateTime("2026-03-01T12:30:00"),
  new PlainDate("0001-01-01"),
  new PlainTime("23:59:59.999999"),
  new TimeDelta({ seconds: -1 }),
  new UUID("123e4567-e89b-12d3-a456-426614174000"),
  new Decimal("1E+400"),
  new Complex(-0, Number.NaN),
  Tensor.of(Float64Array.of(1, 2, 3, 4), [2, 2]),
  new Tensor("<f8", [], new Uint8Array(8), true),
  new Tensor("<f8", [], new Uint8Array(8)),
  [Tensor.of(Int32Array.of(1)), new Tensor("|b1", [], Uint8Array.of(1), true)],
  new ArrowTable("pandas.DataFrame", Uint8Array.of(1, 2)),
  { table: new ArrowTable("polars.DataFrame", new Uint8Array(0)) },
];

test("every kind of value comes back as it was", () => {
  for (const value of SAME) assert.deepEqual(roundTrip(value), value);
});

test("integers are numbers where that is exact, and bigints where it is not", () => {
  assert.equal(roundTrip(5n), 5);
  assert.equal(roundTrip(2n ** 53n), 2n ** 53n);
  assert.deepEqual(roundTrip([2n ** 53n + 1n, 7n]), [2n ** 53n + 1n, 7]);
  assert.equal(nameOf(5), "Int64Value");
  assert.equal(nameOf(5.5), "DoubleValue");
  assert.equal(nameOf(2n ** 63n), "Json");
});

test("a Float stays a float, and exact reading tells it from an integer", () => {
  assert.equal(nameOf(new Float(3)), "DoubleValue");
  assert.equal(roundTrip(new Float(3)), 3);
  assert.deepEqual(roundTrip(new Float(3), true), new Float(3));
  assert.deepEqual(roundTrip({ a: new Float(3), b: 3 }, true), { a: new Float(3), b: 3 });
  assert.deepEqual(roundTrip([new Float(3), Uint8Array.of(1)], true), [new Float(3), Uint8Array.of(1)]);
});

test("keys that an object would reorder keep their order with exact reading", () => {
  const dict = new Map([
    ["b", 1],
    ["1", 2],
  ]);
  assert.deepEqual(roundTrip(dict), { 1: 2, b: 1 });
  assert.deepEqual(roundTrip(dict, true), dict);
});

test("a key named __proto__ is a key", () => {
  const value = JSON.parse('{"__proto__": 1, "a": 2}') as object;
  const back = roundTrip(value) as object;
  assert.deepEqual(Object.entries(back), [
    ["__proto__", 1],
    ["a", 2],
  ]);
  assert.equal(Object.getPrototypeOf(back), Object.prototype);
});

test("what is small goes as ListValue or Struct, what needs order as Json, and the rest as RichValue", () => {
  assert.equal(nameOf([1, "a"]), "ListValue");
  assert.equal(nameOf({ a: 1 }), "Struct");
  assert.equal(nameOf({ a: 1, b: 2 }), "Json");
  assert.equal(nameOf([new Set()]), "RichValue");
});

test("objects of JavaScript become what is nearest", () => {
  class Point {
    constructor(
      readonly x: number,
      readonly y: number,
    ) {}
  }
  assert.deepEqual(roundTrip(new Point(1, 2)), { x: 1, y: 2 });
  assert.deepEqual(roundTrip([new URL("http://a.test/"), { toJSON: () => "b" }]), ["http://a.test/", "b"]);
  assert.deepEqual(roundTrip(new Date("2026-03-01T12:30:00.123Z")), new DateTime("2026-03-01T12:30:00.123000+00:00"));
  assert.deepEqual(roundTrip(Float32Array.of(1.5)), Tensor.of(Float32Array.of(1.5)));
  assert.deepEqual(roundTrip(Buffer.from("ab")), Uint8Array.of(97, 98));
  assert.deepEqual(roundTrip(new Uint8Array([1, 2]).buffer), Uint8Array.of(1, 2));
  assert.deepEqual(roundTrip({ a: undefined, b: [undefined] }), { b: [null] });
  assert.deepEqual(
    roundTrip(
      (function* numbers() {
        yield 1;
      })(),
    ),
    [1],
  );
  assert.equal(roundTrip(undefined), null);
});

test("what is no value is refused with what to send instead", () => {
  const refused: [unknown, RegExp][] = [
    [() => 1, /send plain data/],
    [Symbol("s"), /send plain data/],
    [Promise.resolve(), /await it/],
    [/x/, /send its source/],
    [new Error("e"), /throw it/],
    [{ deep: [new WeakMap()] }, /send what it holds/],
    ["\ud83d", /lone surrogate/],
    [{ "\ud83d": 1 }, /lone surrogate/],
    [new Date(Number.NaN), /invalid Date/],
    [(async function* none() {})(), /collect its items/],
  ];
  for (const [value, text] of refused) {
    assert.throws(
      () => serializeValue(value),
      (error) => error instanceof SerializationError && text.test(error.message),
    );
  }
});

test("a value that contains itself, or is too deep, is refused", () => {
  const circle: unknown[] = [];
  circle.push(circle);
  assert.throws(() => serializeValue(circle), /nested deeper/);
  let deep: unknown = 1;
  for (let level = 0; level < 100; level++) deep = [deep];
  assert.deepEqual(roundTrip(deep), deep);
  assert.throws(() => serializeValue([deep]), /nested deeper/);
  let rich: unknown = new Set();
  for (let level = 0; level < 99; level++) rich = [rich];
  assert.deepEqual(roundTrip(rich), rich);
});

test("classes of values refuse what they cannot be", () => {
  assert.throws(() => new Decimal("1,5"), SerializationError);
  assert.throws(() => new UUID("nothing"), SerializationError);
  assert.throws(() => new PlainDate("2026-02-30"), SerializationError);
  assert.throws(() => new PlainTime("24:00:00"), SerializationError);
  assert.throws(() => new DateTime("2026-03-01"), SerializationError);
  assert.throws(() => new DateTime("2026-03-01T12:00:00", { zone: "Europe/Atlantis" }), /not known/);
  assert.throws(() => new Tensor("<f8", [2], new Uint8Array(8)), /takes 16 bytes, but has 8/);
  assert.throws(() => new Tensor("|O", [1], new Uint8Array(8)), SerializationError);
  assert.throws(() => new TimeDelta({ days: 1.5 }), SerializationError);
});

test("moments, spans and tensors are read as JavaScript has them", () => {
  const moment = new DateTime("1969-12-31T23:59:59.999999-01:30");
  assert.equal(moment.epochMicroseconds, 5_399_999_999n);
  assert.equal(moment.toDate().toISOString(), "1970-01-01T01:29:59.999Z");
  assert.throws(() => new DateTime("2026-03-01T12:00:00").toDate(), /no offset/);
  assert.equal(new TimeDelta({ days: 1, microseconds: -500 }).totalMilliseconds, 86_399_999.5);
  assert.deepEqual(TimeDelta.fromMilliseconds(1.5), new TimeDelta({ microseconds: 1500 }));
  assert.deepEqual(Tensor.of(BigInt64Array.of(5n)).toTypedArray(), BigInt64Array.of(5n));
  assert.throws(() => new Tensor("<c16", [0], new Uint8Array(0)).toTypedArray(), /no typed array/);
});

test("bytes that are not a value are refused, and so are unknown type URLs", () => {
  const any = (typeUrl: string, ...value: number[]) => create(AnySchema, { typeUrl, value: Uint8Array.from(value) });
  for (const message of [
    any(""),
    any("type.googleapis.com/acme.Unknown", 1),
    any("x/google.protobuf.StringValue", 0x0a, 9, 1),
    any("x/dspex.bridge.Json", 0x0a, 1, 0x7b),
    any("x/dspex.bridge.RichValue"),
    any("x/google.protobuf.Value"),
    any("x/dspex.bridge.Tensor", 0x0a, 1, 0x78),
  ]) {
    assert.throws(() => deserializeValue(message), SerializationError);
  }
  assert.equal(deserializeValue(any("python.Thing", 0x0a, 1, 0x78)), "x");
});

test("a class with a codec goes as itself, also inside containers", () => {
  class Money {
    constructor(readonly cents: number) {}
  }
  const codec = {
    typeUrl: "acme.Money",
    encode: (money: Money) => new TextEncoder().encode(String(money.cents)),
    decode: (data: Uint8Array) => new Money(Number(new TextDecoder().decode(data))),
  };
  registerCodec(Money, codec);
  assert.deepEqual(roundTrip(new Money(5)), new Money(5));
  assert.deepEqual(roundTrip([new Money(5), Tuple.of(new Money(6))]), [new Money(5), Tuple.of(new Money(6))]);
  assert.throws(() => registerCodec(Money, codec), AlreadyExistsError);
  assert.throws(() => registerCodec(Date, { ...codec, typeUrl: "google.protobuf.Any" } as never), ValidationError);
});

test("a value whose toJSON writes another value comes whole", () => {
  const nosy = { toJSON: () => deserializeValue(serializeValue({ inner: [1, 2] })) };
  assert.deepEqual(roundTrip({ a: nosy, b: "x" }), { a: { inner: [1, 2] }, b: "x" });
});
