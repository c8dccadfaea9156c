/**
 * Protobuf's wire format by hand, for the messages of every call.
 *
 * Reflection costs several times as much as the rest of a call; all other messages use the generated code.
 */
import { isUtf8 } from "node:buffer";

/** Wire types of protobuf. */
export const VARINT = 0;
export const FIXED64 = 1;
export const LENGTH = 2;
export const FIXED32 = 5;
const GROUP = 3;
/** Nested groups of an unknown field. */
const MAX_GROUPS = 100;

const TWO_32 = 2 ** 32;
/** The longest varint: 64 bits, 7 in each byte. */
const VARINT_BYTES = 10;
/** A finished message of this size keeps the writer's buffer; a smaller one is copied out of it. */
const HAND_OVER_BYTES = 64 * 1024;
const FIRST_BYTES = 4 * 1024;
/** What follows a large payload: lengths that take more bytes than expected, and the other fields. */
const SPARE_BYTES = 256;
/** A mark has the place of a length, and how many bytes are left for it, which are fewer than these. */
const WIDTHS = 16;
/** A character of UTF-16 has at most three bytes in UTF-8. */
const UTF8_BYTES = 3;

/** Bytes that are not a message. */
export class WireError extends Error {
  override name = "WireError";
}

/** Writes messages one after another into the same buffer. */
export class Writer {
  #buffer = Buffer.allocUnsafe(FIRST_BYTES);
  #at = 0;

  /** Bytes written since the last `finish`. */
  get size(): number {
    return this.#at;
  }

  /** Writes one byte, such as a tag. */
  byte(value: number): void {
    this.#reserve(1);
    this.#buffer[this.#at++] = value;
  }

  /** Writes a whole number from 0 to 2**53 - 1. */
  varint(value: number): void {
    this.#reserve(VARINT_BYTES);
    const buffer = this.#buffer;
    let at = this.#at;
    let rest = value;
    while (rest >= TWO_32) {
      buffer[at++] = (rest % 128) | 128;
      rest = Math.floor(rest / 128);
    }
    rest >>>= 0;
    while (rest > 127) {
      buffer[at++] = (rest & 127) | 128;
      rest >>>= 7;
    }
    buffer[at++] = rest;
    this.#at = at;
  }

  /** Writes a signed 64-bit number as an `int64`: a negative one takes ten bytes. */
  int64(value: number | bigint): void {
    if (typeof value === "number" && value >= 0) {
      this.varint(value);
      return;
    }
    let rest = BigInt.asUintN(64, BigInt(value));
    while (rest > 127n) {
      this.byte(Number(rest & 127n) | 128);
      rest >>= 7n;
    }
    this.byte(Number(rest));
  }

  /** Writes a `double`. */
  double(value: number): void {
    this.#reserve(8);
    this.#buffer.writeDoubleLE(value, this.#at);
    this.#at += 8;
  }

  /** Writes bytes without a tag or a length. */
  raw(data: Uint8Array): void {
    this.#reserve(data.length);
    this.#buffer.set(data, this.#at);
    this.#at += data.length;
  }

  /** Writes a field of bytes. */
  bytes(tag: number, data: Uint8Array): void {
    this.varint(tag);
    this.varint(data.length);
    this.raw(data);
  }

  /** Writes a field of text, which must be well-formed. */
  string(tag: number, text: string): void {
    this.varint(tag);
    const length = text.length;
    if (length * UTF8_BYTES < 128) {
      this.#reserve(1 + length * UTF8_BYTES);
      const written = this.#buffer.write(text, this.#at + 1, "utf8");
      this.#buffer[this.#at] = written;
      this.#at += 1 + written;
      return;
    }
    const size = Buffer.byteLength(text);
    this.varint(size);
    this.#reserve(size);
    this.#at += this.#buffer.write(text, this.#at, "utf8");
  }

  /**
   * Begins a message field; `end` takes what this returns.
   *
   * @param expected - About how many bytes it will have; if that is right, nothing has to be moved at its end.
   */
  begin(tag: number, expected = 0): number {
    this.varint(tag);
    const width = varintSize(expected);
    this.#reserve(width);
    const mark = this.#at * WIDTHS + width;
    this.#at += width;
    return mark;
  }

  /** Ends a message field. */
  end(mark: number): void {
    const start = Math.floor(mark / WIDTHS);
    const width = mark % WIDTHS;
    const size = this.#at - start - width;
    if (width === 1 && size < 128) {
      this.#buffer[start] = size;
      return;
    }
    const extra = varintSize(size) - width;
    if (extra !== 0) {
      if (extra > 0) this.#reserve(extra);
      this.#buffer.copyWithin(start + width + extra, start + width, this.#at);
    }
    const end = this.#at + extra;
    this.#at = start;
    this.varint(size);
    this.#at = end;
  }

  /** Returns what was written, and begins anew. */
  finish(): Buffer {
    const size = this.#at;
    this.#at = 0;
    if (size >= HAND_OVER_BYTES) {
      const whole = this.#buffer.subarray(0, size);
      this.#buffer = Buffer.allocUnsafe(FIRST_BYTES);
      return whole;
    }
    const copy = Buffer.allocUnsafe(size);
    this.#buffer.copy(copy, 0, 0, size);
    return copy;
  }

  /** Drops what was written, after an error. */
  reset(): void {
    this.#at = 0;
  }

  #reserve(size: number): void {
    const needed = this.#at + size;
    if (needed <= this.#buffer.length) return;
    const larger = Buffer.allocUnsafe(Math.max(needed + SPARE_BYTES, this.#buffer.length * 2));
    this.#buffer.copy(larger, 0, 0, this.#at);
    this.#buffer = larger;
  }
}

/** Writers that nobody uses now: one more than messages are written within each other. */
const spareWriters: Writer[] = [];

/** Writes a message; what is written may be code of users, which may write another message meanwhile. */
export function written(write: (writer: Writer) => void): Buffer {
  const writer = spareWriters.pop() ?? new Writer();
  try {
    write(writer);
    return writer.finish();
  } finally {
    writer.reset();
    spareWriters.push(writer);
  }
}

/** Reads one message: bytes, or a part of them. */
export class Reader {
  readonly #buffer: Buffer;
  readonly #end: number;
  /** Where the next field begins. */
  at: number;

  constructor(data: Uint8Array, start = 0, end = data.length) {
    this.#buffer = asBuffer(data);
    this.#end = end;
    this.at = start;
  }

  /** Whether there is another field. */
  get more(): boolean {
    return this.at < this.#end;
  }

  /** Reads the tag of a field: its number times eight, and its wire type. */
  tag(): number {
    const tag = this.varint();
    if (tag < 8 || tag >= TWO_32) throw new WireError(`a field has the tag ${tag}`);
    return tag;
  }

  /** Reads a number without a sign; one beyond 2**53 loses digits, as only an invalid id or size does. */
  varint(): number {
    const buffer = this.#buffer;
    let value = 0;
    let factor = 1;
    for (let index = 0; index < VARINT_BYTES; index++) {
      if (this.at >= this.#end) throw truncated();
      const byte = buffer[this.at++]!;
      value += (byte & 127) * factor;
      if (byte < 128) return value;
      factor *= 128;
    }
    throw new WireError("a number has more than ten bytes");
  }

  /** Reads 64 bits without a sign. */
  uint64(): bigint {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      if (this.at >= this.#end) throw truncated();
      const byte = this.#buffer[this.at++]!;
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return BigInt.asUintN(64, value);
    }
    throw new WireError("a number has more than ten bytes");
  }

  /** Reads an `int64`: a number if that is exact, else a bigint. */
  int64(): number | bigint {
    const start = this.at;
    const value = this.varint();
    if (value <= Number.MAX_SAFE_INTEGER) return value;
    this.at = start;
    return exactInteger(BigInt.asIntN(64, this.uint64()));
  }

  /** Reads an `int32` or `uint32` of a time or a size: what is negative or too large counts as 0. */
  count(): number {
    const value = this.varint();
    return value < TWO_32 ? value : 0;
  }

  /** Reads a `double`. */
  double(): number {
    if (this.at + 8 > this.#end) throw truncated();
    const value = this.#buffer.readDoubleLE(this.at);
    this.at += 8;
    return value;
  }

  /** Reads a `float`. */
  float(): number {
    if (this.at + 4 > this.#end) throw truncated();
    const value = this.#buffer.readFloatLE(this.at);
    this.at += 4;
    return value;
  }

  /** Reads a field of bytes, without copying it. */
  bytes(): Buffer {
    const size = this.varint();
    const start = this.at;
    if (start + size > this.#end) throw truncated();
    this.at = start + size;
    return this.#buffer.subarray(start, start + size);
  }

  /** Returns a reader of a message field; unlike `bytes`, it costs no view of the bytes. */
  message(): Reader {
    const size = this.varint();
    const start = this.at;
    if (start + size > this.#end) throw truncated();
    this.at = start + size;
    return new Reader(this.#buffer, start, start + size);
  }

  /** Whether what is left is exactly these bytes. */
  equals(bytes: Uint8Array): boolean {
    const size = this.#end - this.at;
    return size === bytes.length && this.#buffer.compare(bytes, 0, size, this.at, this.#end) === 0;
  }

  /** The number of bytes that are left. */
  get left(): number {
    return this.#end - this.at;
  }

  /** What is left as a text. */
  rest(): string {
    return utf8Text(this.#buffer, this.at, this.#end);
  }

  /** What is left, without copying it. */
  restBytes(): Buffer {
    return this.#buffer.subarray(this.at, this.#end);
  }

  /** Reads a field of text. */
  string(): string {
    const size = this.varint();
    const start = this.at;
    if (start + size > this.#end) throw truncated();
    this.at = start + size;
    return utf8Text(this.#buffer, start, start + size);
  }

  /** Skips a field that is not known. */
  skip(tag: number, depth = 0): void {
    switch (tag & 7) {
      case VARINT:
        this.varint();
        return;
      case FIXED64:
        this.at += 8;
        break;
      case LENGTH:
        this.bytes();
        return;
      case FIXED32:
        this.at += 4;
        break;
      case GROUP:
        this.#skipGroup(tag + 1, depth);
        return;
      default:
        throw new WireError(`a field has the unknown wire type ${tag & 7}`);
    }
    if (this.at > this.#end) throw truncated();
  }

  /** Skips a group, which proto3 has no more, to the tag of its end. */
  #skipGroup(end: number, depth: number): void {
    if (depth > MAX_GROUPS) throw new WireError("groups are nested too deep");
    for (let tag = this.tag(); tag !== end; tag = this.tag()) this.skip(tag, depth + 1);
  }
}

/** Returns how many bytes a varint takes. */
export function varintSize(value: number): number {
  if (value < 128) return 1;
  if (value < 16_384) return 2;
  let size = 3;
  for (let rest = Math.floor(value / 2_097_152); rest > 0; rest = Math.floor(rest / 128)) size++;
  return size;
}

/** Returns an integer as a number if that is exact, else as it is. */
export function exactInteger(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

/** Returns a view of the same bytes with the methods of a Buffer. */
export function asBuffer(data: Uint8Array): Buffer {
  return Buffer.isBuffer(data) ? data : Buffer.from(data.buffer, data.byteOffset, data.byteLength);
}

function utf8Text(buffer: Buffer, start: number, end: number): string {
  const text = buffer.toString("utf8", start, end);
  // A replacement character may be one that was sent, or stand for bytes that are not UTF-8.
  if (text.includes("\uFFFD") && !isUtf8(buffer.subarray(start, end))) {
    throw new WireError("a text is not valid UTF-8");
  }
  return text;
}

function truncated(): WireError {
  return new WireError("it ends in the middle of a field");
}
