/**
 * The protocol of a link, without any I/O.
 *
 * A link carries calls in both directions over one stream of frames. This is one end of it: it takes the frames that
 * were received and returns events, and it returns the next frame to send. Reading and writing frames, running calls
 * and waiting for answers are done elsewhere.
 *
 * The rules are those of the messages `LinkFrame` and `Envelope` in `proto/dspex_bridge.proto`.
 */
import { create } from "@bufbuild/protobuf";
import { MessageTooLargeError, ProtocolError, ResourceExhaustedError, ValidationError } from "../errors.js";
import {
  type Envelope as EnvelopeMessage,
  type LinkEvent,
  type LinkHello,
  LinkHelloSchema,
  type LinkStatus,
  LinkStatusSchema,
} from "../gen/dspex_bridge_pb.js";
import { INITIAL_CREDIT, IncomingCall, OutgoingCall, Parts } from "./calls.js";
import { CHUNK_TAG, controlEnvelope, type Envelope, type EnvelopeKind, readFrame } from "./envelopes.js";
import { Lane, Outbox, REASSEMBLY_BYTES, SMALL_BYTES } from "./outbox.js";
import { CANCELLED, OK, statusOf } from "./status.js";

const PROTOCOL = 1;
/** The feature of a hello whose end answers questions. */
export const ASK_FEATURE = "ask";

/** If more bytes wait to be sent, no further calls are taken. */
const HIGH_WATER_BYTES = 1024 * 1024;
/** Unanswered calls; further ones are refused. No hub makes as many. */
const MAX_INCOMING_CALLS = 64 * 1024;
/** Of unanswered requests; further calls are refused. */
const MAX_INCOMING_BYTES = 256 * 1024 * 1024;
/** Of answers that wait to be sent; a peer that calls faster than it reads gets errors. */
const MAX_ANSWER_BYTES = 256 * 1024 * 1024;
/** A peer that lets so much control pile up does not read the answers. */
const MAX_CONTROL_BYTES = 16 * 1024 * 1024;
/** Pieces of incomplete payloads, of any size: each has an overhead. */
const MAX_PIECES = 64 * 1024;
/** Longer than the name of any method; one that is cut does not exist. */
const MAX_METHOD_CHARS = 128;
/** Entries and characters of one call's metadata. */
const MAX_CALL_METADATA = 64;
const MAX_CALL_METADATA_CHARS = 8_192;
/** Cancelled calls that are remembered because their end may come after their answer. */
const MAX_REMEMBERED = 1_000;

/** What a frame brought. */
export type LinkEventReceived =
  | { type: "hello"; hello: LinkHello }
  | { type: "call"; call: IncomingCall }
  | { type: "cancelled"; call: IncomingCall; reason: string }
  | { type: "reply" | "chunk"; call: OutgoingCall; payload: Buffer }
  | { type: "end"; call: OutgoingCall; status: LinkStatus }
  | { type: "event"; call: OutgoingCall | IncomingCall; event: LinkEvent }
  | { type: "pong"; number: bigint }
  | { type: "draining"; graceMs: number };

/** What this end says of itself. */
export interface Greeting {
  /** A name for logs. */
  peer: string;
  features?: string[];
  /** Concurrent calls that this end takes; 0: no limit. */
  capacity?: number;
}

/** One end of a link; the dialer's calls have odd ids, those of the hub even ones. */
export class Link {
  /** The peer's hello; undefined before it was received. */
  peer: LinkHello | undefined;
  /** Whether the peer takes no new calls. */
  draining = false;
  /** Unanswered calls of this end that were sent, by id; cancelled ones stay until their end is received. */
  readonly calls = new Map<number, OutgoingCall>();
  /** Unanswered calls of the peer, by id. */
  readonly incoming = new Map<number, IncomingCall>();
  readonly #outbox = new Outbox();
  readonly #answersQuestions: boolean;
  readonly #capacity: number;
  #incomingBytes = 0;
  readonly #assembling = new Map<number, Parts>();
  #assembled = 0;
  #pieces = 0;
  #lastId: number;
  #lastPeerId: number;
  /** Concurrent calls that the peer takes: 0 before its hello, and once it drains. */
  #peerCapacity = 0;
  /** Calls of this end that have not ended. */
  #open = 0;
  /** Cancelled calls that were answered before their end. */
  readonly #crossed = new Set<number>();
  #pings = 0n;

  constructor({ dialer, greeting }: { dialer: boolean; greeting: Greeting }) {
    this.#lastId = dialer ? -1 : 0;
    this.#lastPeerId = dialer ? 0 : -1;
    this.#capacity = Math.min(greeting.capacity || MAX_INCOMING_CALLS, MAX_INCOMING_CALLS);
    this.#answersQuestions = greeting.features?.includes(ASK_FEATURE) ?? false;
    this.#control(0, { case: "hello", value: create(LinkHelloSchema, { ...greeting, protocol: PROTOCOL }) });
  }

  // ------------------------------------------------------------------------------------------------ sending

  /** Whether there is a frame to send. */
  get hasOutput(): boolean {
    return !this.#outbox.empty;
  }

  /** Whether a call may be made now, within all limits. */
  get takesCalls(): boolean {
    return this.#outbox.size < HIGH_WATER_BYTES && this.#open < this.#peerCapacity;
  }

  /** How many calls of this end have not ended, including cancelled ones. */
  get openCalls(): number {
    return this.#open;
  }

  /** The unsent calls with their payloads; they can be sent over another link. */
  unsent(): { call: OutgoingCall; payload: Uint8Array }[] {
    return this.#outbox
      .unsent()
      .flatMap(({ sending, payload }) =>
        sending instanceof OutgoingCall && sending.id === 0 ? [{ call: sending, payload }] : [],
      );
  }

  /** Removes and returns the next frame to send; `hasOutput` must be true. */
  nextFrame(): Buffer {
    return this.#outbox.nextFrame();
  }

  /** Makes a call; throws MessageTooLargeError if the payload is larger than a link can carry. */
  call(call: OutgoingCall, payload: Uint8Array): void {
    checkSize("the request", payload);
    call.issue = this.#issue;
    this.#open++;
    if (payload.length <= SMALL_BYTES) {
      this.#outbox.addSmall(call, payload);
      return;
    }
    call.lane = new Lane();
    this.#outbox.add(call.lane, call, payload);
  }

  /** Cancels a call; one that was sent counts as open until its end is received. */
  cancel(call: OutgoingCall, reason = ""): void {
    if (call.givenUp || !call.issue) return;
    call.givenUp = true;
    this.#forgetParts(call);
    if (call.lane) this.#outbox.drop(call.lane);
    if (call.id === 0) {
      this.#open--;
      this.#outbox.removeSmall(call);
    } else if (this.calls.has(call.id)) {
      this.#control(call.id, { case: "cancel", value: { $typeName: "dspex.bridge.LinkCancel", reason } });
    }
  }

  /** Notes that `size` bytes of a stream were read; the credit is sent once it is half a window. */
  grant(call: OutgoingCall, size: number): void {
    call.consumed += size;
    if (call.consumed * 2 < call.window || call.givenUp || !this.calls.has(call.id)) return;
    call.credit += call.consumed;
    this.#control(call.id, { case: "credit", value: call.consumed });
    call.consumed = 0;
  }

  /**
   * Answers a unary call.
   *
   * @throws MessageTooLargeError if the payload is larger than a link can carry, ResourceExhaustedError if the peer
   *   reads too slowly; the call then still waits for its answer.
   */
  reply(call: IncomingCall, payload: Uint8Array): void {
    if (call.answered) return;
    checkSize("the answer", payload);
    if (this.#outbox.size > 0 && this.#outbox.size + payload.length > MAX_ANSWER_BYTES) {
      throw new ResourceExhaustedError(
        `the answers that wait for their reader would take ${this.#outbox.size + payload.length} bytes, the link's ` +
          `limit is ${MAX_ANSWER_BYTES}; read them, and make fewer concurrent calls`,
      );
    }
    if (payload.length <= SMALL_BYTES) {
      call.answered = true;
      this.#over(call);
      this.#outbox.addSmall(call, payload);
      return;
    }
    call.answered = true;
    call.lane = new Lane();
    call.lane.onEmpty = () => this.#over(call);
    this.#outbox.add(call.lane, call, payload);
  }

  /** Sends a message of a stream as soon as the peer's credit allows. */
  chunk(call: IncomingCall, payload: Uint8Array): void {
    if (call.answered || call.cancelled) return;
    checkSize("a message of the stream", payload);
    call.payloadTag = CHUNK_TAG;
    call.lane ??= new Lane(call.credit);
    this.#outbox.add(call.lane, call, payload);
  }

  /** Whether a stream may have another message; if not, `onRoom` is called once some was sent. */
  hasRoom(call: IncomingCall, onRoom?: () => void): boolean {
    if (!call.lane || this.#outbox.hasRoom(call.lane)) return true;
    if (onRoom) call.lane.onRoom = onRoom;
    return false;
  }

  /** Ends a call: a stream after its last message, a unary one with an error. */
  end(call: IncomingCall, status: LinkStatus): void {
    if (call.answered) return;
    call.answered = true;
    const envelope = controlEnvelope(call.id, { case: "end", value: status });
    const lane = call.lane;
    if (!lane || lane.dropped || lane.empty) {
      this.#over(call);
      this.#outbox.addControl(envelope);
      return;
    }
    lane.last = envelope;
    lane.onEmpty = () => this.#over(call);
  }

  /** Sends an event of a call to the peer; it arrives before the call's end. */
  tell(call: IncomingCall | OutgoingCall, event: LinkEvent): void {
    const underWay =
      call instanceof IncomingCall ? !call.answered && !call.cancelled : !call.givenUp && this.calls.has(call.id);
    if (underWay) this.#control(call.id, { case: "event", value: event });
  }

  /** Sends a ping; returns the number that its pong will have. */
  ping(): bigint {
    this.#control(0, { case: "ping", value: ++this.#pings });
    return this.#pings;
  }

  /** Tells the peer to make no new calls. */
  drain(graceMs: number): void {
    this.#control(0, { case: "drain", value: { $typeName: "dspex.bridge.LinkDrain", graceMs } });
  }

  readonly #issue = (call: OutgoingCall): number => {
    this.#lastId += 2;
    call.id = this.#lastId;
    this.calls.set(call.id, call);
    return call.id;
  };

  #over(call: IncomingCall): void {
    if (this.incoming.delete(call.id)) this.#incomingBytes -= call.payload.length;
  }

  #control(id: number, kind: EnvelopeMessage["kind"]): void {
    this.#outbox.addControl(controlEnvelope(id, kind));
  }

  // ---------------------------------------------------------------------------------------------- receiving

  /** Returns the events of a frame; throws ProtocolError if the frame breaks the protocol, which ends the link. */
  receive(frame: Uint8Array): LinkEventReceived[] {
    const events: LinkEventReceived[] = [];
    try {
      for (const envelope of parse(frame)) {
        if (envelope.kind === undefined) {
          throw new ProtocolError(`an envelope of the call ${envelope.id} has nothing in it that is known here`);
        }
        if (!this.peer && envelope.kind !== "hello") {
          throw new ProtocolError(`the first envelope is '${envelope.kind}'; it must be the peer's hello`);
        }
        this.#take(envelope, events);
      }
      if (this.#outbox.controlSize > MAX_CONTROL_BYTES) {
        throw new ProtocolError("the peer keeps sending without reading the answers");
      }
    } catch (error) {
      // These answers are dropped: their calls must fail with the link.
      for (const event of events) {
        if (event.type === "reply" || event.type === "end") this.calls.set(event.call.id, event.call);
      }
      throw error;
    }
    return events;
  }

  #take(envelope: { id: number } & EnvelopeKind, events: LinkEventReceived[]): void {
    const { id } = envelope;
    switch (envelope.kind) {
      case "call":
        return this.#takeCall(id, envelope, events);
      case "reply":
        return this.#takeReply(id, envelope.payload, events);
      case "chunk":
        return this.#takeChunk(id, envelope.payload, events);
      case "part":
        return this.#takePart(id, envelope.payload);
      case "end":
        return this.#takeEnd(id, envelope.status, events);
      case "cancel":
        return this.#takeCancel(id, envelope.cancel.reason, events);
      case "credit":
        return this.#takeCredit(id, envelope.credit);
      case "hello":
        return this.#takeHello(envelope.hello, events);
      case "ping":
        return this.#control(0, { case: "pong", value: envelope.number });
      case "pong":
        events.push({ type: "pong", number: envelope.number });
        return;
      case "drain":
        this.draining = true;
        this.#peerCapacity = 0;
        events.push({ type: "draining", graceMs: envelope.drain.graceMs });
        return;
      case "event":
        return this.#takeEvent(id, envelope.event, events);
    }
  }

  #takeHello(hello: LinkHello, events: LinkEventReceived[]): void {
    if (this.peer) throw new ProtocolError("a second hello came");
    if (hello.protocol !== PROTOCOL) {
      throw new ProtocolError(`the peer speaks version ${hello.protocol} of the link's protocol; this is ${PROTOCOL}`);
    }
    this.peer = hello;
    this.#peerCapacity = hello.capacity || Number.POSITIVE_INFINITY;
    events.push({ type: "hello", hello });
  }

  #takeCall(id: number, { call: received }: EnvelopeKind & { kind: "call" }, events: LinkEventReceived[]): void {
    let { payload } = received;
    const parts = this.#assembling.get(id);
    if (parts) {
      this.#assembling.delete(id);
      payload = this.#join(parts, payload);
    } else {
      this.#checkNew(id);
    }
    const method = received.method.slice(0, MAX_METHOD_CHARS);
    const credit = received.initialCredit || INITIAL_CREDIT;
    const call = new IncomingCall(id, method, payload, received.timeoutMs, received.metadata, credit);
    this.incoming.set(id, call);
    this.#incomingBytes += payload.length;
    const refusal = this.#refusal(call);
    if (refusal) this.end(call, statusOf(refusal));
    else events.push({ type: "call", call });
  }

  #refusal(call: IncomingCall): ResourceExhaustedError | ValidationError | undefined {
    if (this.incoming.size > this.#capacity) return tooMuch(`${this.#capacity} concurrent calls`);
    if (this.#incomingBytes > MAX_INCOMING_BYTES) return tooMuch(`${MAX_INCOMING_BYTES} bytes of requests at once`);
    if (call.metadata.size === 0) return undefined;
    let characters = 0;
    for (const [key, text] of call.metadata) characters += key.length + text.length;
    if (call.metadata.size <= MAX_CALL_METADATA && characters <= MAX_CALL_METADATA_CHARS) return undefined;
    return new ValidationError(
      `the metadata of a call on a link has at most ${MAX_CALL_METADATA} entries and ${MAX_CALL_METADATA_CHARS} ` +
        "characters; put what is larger into the context of the request",
    );
  }

  #takeReply(id: number, last: Buffer, events: LinkEventReceived[]): void {
    const call = this.calls.get(id);
    if (!call) throw this.#unasked(id, "reply");
    if (call.streaming) throw new ProtocolError(`the call ${id} is a stream, but a reply came`);
    this.calls.delete(id);
    this.#open--;
    if (call.givenUp) {
      this.#remember(id);
      return;
    }
    const payload = call.parts ? this.#join(call.parts, last) : last;
    call.parts = undefined;
    events.push({ type: "reply", call, payload });
  }

  #takeChunk(id: number, last: Buffer, events: LinkEventReceived[]): void {
    const call = this.calls.get(id);
    if (!call) throw this.#unasked(id, "chunk");
    if (!call.streaming) throw new ProtocolError(`the call ${id} is not a stream, but a chunk came`);
    if (call.givenUp) return;
    let payload = last;
    if (call.parts) {
      // The credit was checked with the first piece.
      payload = this.#join(call.parts, last);
      call.parts = undefined;
    } else {
      checkCredit(call);
    }
    call.credit -= payload.length;
    events.push({ type: "chunk", call, payload });
  }

  #takeEnd(id: number, status: LinkStatus, events: LinkEventReceived[]): void {
    const call = this.calls.get(id);
    if (!call) {
      if (!this.#crossed.delete(id)) throw this.#unasked(id, "end");
      return;
    }
    if (status.code === OK && !call.streaming && !call.givenUp) {
      throw new ProtocolError(`the call ${id} ended successfully, but without its reply`);
    }
    this.calls.delete(id);
    this.#open--;
    // The call may have been refused before all of it was sent.
    if (call.lane) this.#outbox.drop(call.lane);
    this.#forgetParts(call);
    if (!call.givenUp) events.push({ type: "end", call, status });
  }

  #takeCancel(id: number, reason: string, events: LinkEventReceived[]): void {
    const parts = this.#assembling.get(id);
    if (parts) {
      this.#assembling.delete(id);
      this.#forget(parts);
      this.#endCancelled(id);
      return;
    }
    const call = this.incoming.get(id);
    if (!call) {
      // It was answered already, or never made.
      this.#checkOld(id, "cancel");
      return;
    }
    if (call.cancelled) return;
    call.cancelled = true;
    if (call.lane) {
      this.#outbox.drop(call.lane);
      call.lane.onRoom?.();
    }
    if (call.answered) {
      // Some of its answer was still waiting.
      this.#over(call);
      this.#endCancelled(id);
      return;
    }
    events.push({ type: "cancelled", call, reason });
  }

  #endCancelled(id: number): void {
    const status = create(LinkStatusSchema, { code: CANCELLED, message: "the call was cancelled" });
    this.#control(id, { case: "end", value: status });
  }

  #takeCredit(id: number, credit: number): void {
    const call = this.incoming.get(id);
    if (!call) {
      this.#checkOld(id, "credit");
    } else if (!call.lane) {
      call.credit += credit;
    } else if (call.lane.credit !== undefined) {
      call.lane.credit += credit;
      this.#outbox.schedule(call.lane);
    }
  }

  #takePart(id: number, piece: Buffer): void {
    const parts = Math.abs(id % 2) === Math.abs(this.#lastId % 2) ? this.#partsOfAnswer(id) : this.#partsOfCall(id);
    if (!parts) return;
    parts.pieces.push(piece);
    parts.size += piece.length;
    this.#assembled += piece.length;
    this.#pieces++;
    if (this.#assembled > REASSEMBLY_BYTES) {
      throw new ProtocolError(`pieces of more than ${REASSEMBLY_BYTES} bytes came before they made a whole`);
    }
    if (this.#pieces > MAX_PIECES) {
      throw new ProtocolError(`more than ${MAX_PIECES} pieces came before they made a whole; send larger ones`);
    }
  }

  #partsOfAnswer(id: number): Parts | undefined {
    const call = this.calls.get(id);
    if (!call) throw this.#unasked(id, "part");
    if (call.givenUp) return undefined;
    if (!call.parts) {
      if (call.streaming) checkCredit(call);
      call.parts = new Parts();
    }
    return call.parts;
  }

  #partsOfCall(id: number): Parts {
    let parts = this.#assembling.get(id);
    if (!parts) {
      this.#checkNew(id);
      parts = new Parts();
      this.#assembling.set(id, parts);
    }
    return parts;
  }

  #takeEvent(id: number, event: LinkEvent, events: LinkEventReceived[]): void {
    if (event.kind.case === "answer") {
      const asking = this.incoming.get(id);
      if (!asking) this.#checkOld(id, "answer");
      else if (asking.onEvent) events.push({ type: "event", call: asking, event });
      return;
    }
    const call = this.calls.get(id);
    if (!call) throw this.#unasked(id, "event");
    if (event.kind.case === "ask" && !this.#answersQuestions) {
      throw new ProtocolError(`a question came for the call ${id}, whose caller cannot answer`);
    }
    if (!call.givenUp) events.push({ type: "event", call, event });
  }

  #checkNew(id: number): void {
    if (id <= this.#lastPeerId || Math.abs(id % 2) !== Math.abs(this.#lastPeerId % 2)) {
      throw new ProtocolError(
        `a call came with the number ${id}; the peer's last one was ${Math.max(this.#lastPeerId, 0)}, ` +
          "and numbers rise by two",
      );
    }
    this.#lastPeerId = id;
  }

  #checkOld(id: number, what: string): void {
    if (id <= 0 || id > this.#lastPeerId || id % 2 !== Math.abs(this.#lastPeerId % 2)) {
      throw new ProtocolError(`a ${what} came for the call ${id}, which the peer never made`);
    }
  }

  #unasked(id: number, what: string): ProtocolError {
    const made = id > 0 && id <= this.#lastId && id % 2 === Math.abs(this.#lastId % 2);
    return new ProtocolError(`a ${what} came for the call ${id}, which was ${made ? "answered before" : "never made"}`);
  }

  #remember(id: number): void {
    this.#crossed.add(id);
    if (this.#crossed.size > MAX_REMEMBERED) {
      for (const oldest of this.#crossed) {
        this.#crossed.delete(oldest);
        break;
      }
    }
  }

  #join(parts: Parts, last: Buffer): Buffer {
    this.#forget(parts);
    return Buffer.concat([...parts.pieces, last]);
  }

  #forget(parts: Parts): void {
    this.#assembled -= parts.size;
    this.#pieces -= parts.pieces.length;
  }

  #forgetParts(call: OutgoingCall): void {
    if (call.parts) this.#forget(call.parts);
    call.parts = undefined;
  }
}

function parse(frame: Uint8Array): Envelope[] {
  try {
    return readFrame(frame);
  } catch (error) {
    throw new ProtocolError(`a frame of ${frame.length} bytes cannot be read: ${(error as Error).message}`);
  }
}

function checkSize(what: string, payload: Uint8Array): void {
  if (payload.length > REASSEMBLY_BYTES) throw MessageTooLargeError.of(what, payload.length, REASSEMBLY_BYTES);
}

function checkCredit(call: OutgoingCall): void {
  if (call.credit <= 0) throw new ProtocolError(`the peer sent more of the stream ${call.id} than it was granted`);
}

function tooMuch(limit: string): ResourceExhaustedError {
  return new ResourceExhaustedError(`the link takes ${limit}; call again when some were answered`, {
    details: { retry_after: "0.1" },
  });
}
