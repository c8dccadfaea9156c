/**
 * Envelopes of a link.
 *
 * A frame is a sequence of envelopes, each after its tag and length as a field of `LinkFrame`. An envelope's payload is
 * its last field: only a header has to be written, and a payload is copied only once, into the frame.
 */
import { create, toBinary } from "@bufbuild/protobuf";
import {
  type Envelope as EnvelopeMessage,
  EnvelopeSchema,
  LinkCallSchema,
  type LinkCancel,
  LinkCancelSchema,
  type LinkDrain,
  LinkDrainSchema,
  type LinkEvent,
  LinkEventSchema,
  type LinkHello,
  LinkHelloSchema,
  type LinkStatus,
  LinkStatusSchema,
} from "../gen/dspex_bridge_pb.js";
import { parse } from "../messages.js";
import { Reader, varintSize, type Writer } from "../wire.js";

const ENVELOPE_TAG = 0x0a;
const ID_TAG = 0x08;
const CALL_TAG = 0x12;
const PAYLOAD_TAG = 0x12;
const TIMEOUT_TAG = 0x18;

export const REPLY_TAG = 0x1a;
export const CHUNK_TAG = 0x22;
export const PART_TAG = 0x62;

/** What an envelope holds; `payload` is a view of the frame. */
export type EnvelopeKind =
  | { kind: "call"; call: CallEnvelope }
  | { kind: "reply" | "chunk" | "part"; payload: Buffer }
  | { kind: "end"; status: LinkStatus }
  | { kind: "cancel"; cancel: LinkCancel }
  | { kind: "credit"; credit: number }
  | { kind: "hello"; hello: LinkHello }
  | { kind: "ping" | "pong"; number: bigint }
  | { kind: "drain"; drain: LinkDrain }
  | { kind: "event"; event: LinkEvent };

/** An envelope that was received; `kind` is undefined if it has nothing in it that is known here. */
export type Envelope = { id: number } & (EnvelopeKind | { kind: undefined });

/** A `LinkCall` that was received. */
export interface CallEnvelope {
  method: string;
  payload: Buffer;
  timeoutMs: number;
  metadata: ReadonlyMap<string, string>;
  initialCredit: number;
}

const NO_METADATA: ReadonlyMap<string, string> = new Map();
const NO_BYTES: Buffer = Buffer.alloc(0);

/** Reads the envelopes of a frame; throws WireError, or what the generated code throws, if it is malformed. */
export function readFrame(frame: Uint8Array): Envelope[] {
  const envelopes: Envelope[] = [];
  const reader = new Reader(frame);
  while (reader.more) {
    const tag = reader.tag();
    if (tag === ENVELOPE_TAG) envelopes.push(readEnvelope(reader.message()));
    else reader.skip(tag);
  }
  return envelopes;
}

function readEnvelope(reader: Reader): Envelope {
  let id = 0;
  let envelope: Envelope | undefined;
  while (reader.more) {
    const tag = reader.tag();
    if (tag === ID_TAG) id = reader.varint();
    else envelope = readKind(reader, tag) ?? envelope;
  }
  if (!envelope) return { id, kind: undefined };
  envelope.id = id;
  return envelope;
}

/** Reads what an envelope holds, whose id may come later. */
function readKind(reader: Reader, tag: number): Envelope | undefined {
  switch (tag) {
    case CALL_TAG:
      return { id: 0, kind: "call", call: readCall(reader.message()) };
    case REPLY_TAG:
      return { id: 0, kind: "reply", payload: reader.bytes() };
    case CHUNK_TAG:
      return { id: 0, kind: "chunk", payload: reader.bytes() };
    case 0x2a:
      return { id: 0, kind: "end", status: parse(LinkStatusSchema, reader.bytes()) };
    case 0x32:
      return { id: 0, kind: "cancel", cancel: parse(LinkCancelSchema, reader.bytes()) };
    case 0x38:
      return { id: 0, kind: "credit", credit: reader.count() };
    case 0x42:
      return { id: 0, kind: "hello", hello: parse(LinkHelloSchema, reader.bytes()) };
    case 0x48:
      return { id: 0, kind: "ping", number: reader.uint64() };
    case 0x50:
      return { id: 0, kind: "pong", number: reader.uint64() };
    case 0x5a:
      return { id: 0, kind: "drain", drain: parse(LinkDrainSchema, reader.bytes()) };
    case PART_TAG:
      return { id: 0, kind: "part", payload: reader.bytes() };
    case 0x6a:
      return { id: 0, kind: "event", event: parse(LinkEventSchema, reader.bytes()) };
    default:
      reader.skip(tag);
      return undefined;
  }
}

function readCall(reader: Reader): CallEnvelope {
  const call: CallEnvelope = { method: "", payload: NO_BYTES, timeoutMs: 0, metadata: NO_METADATA, initialCredit: 0 };
  let metadata: Map<string, string> | undefined;
  while (reader.more) {
    const tag = reader.tag();
    if (tag === 0x0a) call.method = readMethod(reader.message());
    else if (tag === PAYLOAD_TAG) call.payload = reader.bytes();
    else if (tag === TIMEOUT_TAG) call.timeoutMs = reader.count();
    else if (tag === 0x22) {
      metadata ??= new Map();
      readEntry(reader.message(), metadata);
    } else if (tag === 0x28) call.initialCredit = reader.count();
    else reader.skip(tag);
  }
  if (metadata) call.metadata = metadata;
  return call;
}

/** The methods of nearly every call; comparing bytes takes less than making a text of them. */
const METHODS = ["ExecuteTool", "StreamTool"].map((name) => [name, Buffer.from(name)] as const);

function readMethod(reader: Reader): string {
  for (const [name, bytes] of METHODS) if (reader.equals(bytes)) return name;
  return reader.rest();
}

/** Reads one entry of a `map<string, string>` into `texts`. */
export function readEntry(reader: Reader, texts: Map<string, string>): void {
  let key = "";
  let value = "";
  while (reader.more) {
    const tag = reader.tag();
    if (tag === 0x0a) key = reader.string();
    else if (tag === 0x12) value = reader.string();
    else reader.skip(tag);
  }
  texts.set(key, value);
}

/** Returns a control envelope as a field of a frame. */
export function controlEnvelope(id: number, kind: EnvelopeMessage["kind"]): Buffer {
  const data = toBinary(EnvelopeSchema, create(EnvelopeSchema, { id: BigInt(id), kind }));
  const head = [ENVELOPE_TAG];
  pushVarint(head, data.length);
  return Buffer.concat([Buffer.from(head), data]);
}

/** Writes the header of a reply, a chunk or a part of `size` bytes. */
export function writePayloadHeader(writer: Writer, tag: number, id: number, size: number): void {
  writer.byte(ENVELOPE_TAG);
  writer.varint(1 + varintSize(id) + 1 + varintSize(size) + size);
  writer.byte(ID_TAG);
  writer.varint(id);
  writer.byte(tag);
  writer.varint(size);
}

/** Writes the header of a call whose payload has `size` bytes. */
export function writeCallHeader(writer: Writer, prefix: Uint8Array, id: number, size: number): void {
  const callSize = prefix.length + 1 + varintSize(size) + size;
  writer.byte(ENVELOPE_TAG);
  writer.varint(1 + varintSize(id) + 1 + varintSize(callSize) + callSize);
  writer.byte(ID_TAG);
  writer.varint(id);
  writer.byte(CALL_TAG);
  writer.varint(callSize);
  writer.raw(prefix);
  writer.byte(PAYLOAD_TAG);
  writer.varint(size);
}

/** What a call says besides its id and payload. */
export interface CallHead {
  /** Milliseconds; 0: as the request says. */
  timeoutMs?: number;
  metadata?: Record<string, string>;
  /** Bytes; 0: 1 MiB. */
  initialCredit?: number;
}

/** Returns what comes before a call's payload. */
export function callPrefix(method: string, head: CallHead = {}): Uint8Array {
  return toBinary(LinkCallSchema, create(LinkCallSchema, { method, ...head }));
}

/** Returns a call's prefix with another timeout; if a field comes twice, the last one counts. */
export function withTimeout(prefix: Uint8Array, timeoutMs: number): Uint8Array {
  const field = [TIMEOUT_TAG];
  pushVarint(field, timeoutMs);
  return Buffer.concat([prefix, Buffer.from(field)]);
}

function pushVarint(out: number[], value: number): void {
  let rest = value;
  while (rest > 127) {
    out.push((rest % 128) | 128);
    rest = Math.floor(rest / 128);
  }
  out.push(rest);
}
