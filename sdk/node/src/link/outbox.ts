/**
 * What waits to be sent over a link, and in which order it is sent.
 *
 * Control envelopes go first, then small payloads in their order. Large payloads and those of streams wait in a lane of
 * their call; the lanes take turns of one fragment each, so that none delays another for longer than that.
 */
import { Writer } from "../wire.js";

/** A payload of a unary call up to this size is sent whole, in order. */
export const SMALL_BYTES = 16 * 1024;
/** A larger payload is sent in pieces of this size, which fits a chunk of 64 KiB with its wrapping. */
export const FRAGMENT_BYTES = 128 * 1024;
/** A frame is complete at this size; the last turn may exceed it by two fragments. */
export const FRAME_BYTES = 256 * 1024;
/** If more bytes of a stream wait, its producer waits. */
const LANE_BYTES = 256 * 1024;
/** If more bytes wait for streams whose readers stall, each stream has room for one message only. */
const STALLED_BYTES = 64 * 1024 * 1024;
/** Of incomplete payloads at the peer. */
export const REASSEMBLY_BYTES = 64 * 1024 * 1024;

/** What has a payload to send: a call or an answer. */
export interface Sending {
  /** Writes the header of a payload, or of its last piece. */
  writeHeader(writer: Writer, size: number): void;
  /** Writes the header of a piece that is not the last. */
  writePartHeader(writer: Writer, size: number): void;
}

/** A payload and what it belongs to. */
interface Entry {
  sending: Sending;
  payload: Uint8Array;
}

/** Payloads of one call, in order. */
export class Lane {
  /** Bytes that wait here. */
  size = 0;
  /** Whether the lane is among those that take turns. */
  listed = false;
  dropped = false;
  /** Size of the payload in front if some of it was sent: the peer has to keep room for it. */
  begun = 0;
  /** Control that is sent once the lane is empty. */
  last: Uint8Array | undefined;
  /** Called when some of the lane was sent. */
  onRoom: (() => void) | undefined;
  /** Called when the lane is empty; set once nothing more will be added. */
  onEmpty: (() => void) | undefined;
  readonly #queue: Entry[] = [];
  #offset = 0;

  /** @param credit - Bytes of a stream that the peer has granted; undefined: not a stream, so no limit. */
  constructor(public credit?: number) {}

  add(entry: Entry): void {
    this.#queue.push(entry);
    this.size += entry.payload.length;
  }

  /** Whether something may be sent now. */
  get ready(): boolean {
    if (this.#offset > 0) return true;
    if (this.#queue.length > 0) return this.credit === undefined || this.credit > 0;
    return this.last !== undefined;
  }

  get empty(): boolean {
    return this.#queue.length === 0 && this.last === undefined;
  }

  /** The payloads of which nothing was sent. */
  unsent(): Entry[] {
    return this.#queue.slice(this.#offset > 0 ? 1 : 0);
  }

  /** Size of the next payload if it needs pieces and none was sent; else 0. */
  get nextSize(): number {
    const first = this.#queue[0];
    if (this.#offset > 0 || !first) return 0;
    return first.payload.length > FRAGMENT_BYTES ? first.payload.length : 0;
  }

  /** Writes about one fragment; returns whether anything was written. */
  takeTurn(writer: Writer): boolean {
    const start = writer.size;
    while (writer.size - start < FRAGMENT_BYTES && this.ready) {
      const entry = this.#queue[0];
      if (!entry) {
        writer.raw(this.last!);
        this.last = undefined;
        break;
      }
      // Whether a payload in pieces may begin is checked before each turn.
      if (this.nextSize > 0 && writer.size > start) break;
      if (!this.#write(writer, entry)) break;
    }
    return writer.size > start;
  }

  /** Writes the next piece of the first payload; returns whether that was all of it. */
  #write(writer: Writer, { sending, payload }: Entry): boolean {
    const left = payload.length - this.#offset;
    if (this.#offset === 0 && this.credit !== undefined) this.credit -= payload.length;
    if (left > FRAGMENT_BYTES) {
      sending.writePartHeader(writer, FRAGMENT_BYTES);
      writer.raw(payload.subarray(this.#offset, this.#offset + FRAGMENT_BYTES));
      this.#offset += FRAGMENT_BYTES;
      this.begun = payload.length;
      this.size -= FRAGMENT_BYTES;
      return false;
    }
    sending.writeHeader(writer, left);
    writer.raw(this.#offset > 0 ? payload.subarray(this.#offset) : payload);
    this.#queue.shift();
    this.#offset = this.begun = 0;
    this.size -= left;
    return true;
  }
}

/** Everything that waits for the next frames. */
export class Outbox {
  /** Bytes of payload that may be sent. */
  size = 0;
  /** Bytes of control that wait. */
  controlSize = 0;
  /** Bytes of streams that wait for credit. */
  #stalled = 0;
  #control: Uint8Array[] = [];
  #small: Entry[] = [];
  readonly #lanes: Lane[] = [];
  /** Bytes of payloads whose first piece was sent, and whose last was not. */
  #begun = 0;
  /** The lane whose payload the peer has no room for yet: no other payload in pieces may begin before it. */
  #next: Lane | undefined;
  readonly #writer = new Writer();

  get empty(): boolean {
    return this.#control.length === 0 && this.#small.length === 0 && this.#lanes.length === 0;
  }

  /** Adds an envelope that overtakes payloads. */
  addControl(envelope: Uint8Array): void {
    this.#control.push(envelope);
    this.controlSize += envelope.length;
  }

  /** Adds a payload that is sent whole. */
  addSmall(sending: Sending, payload: Uint8Array): void {
    this.#small.push({ sending, payload });
    this.size += payload.length;
  }

  /** Removes an unsent small payload, if there is one. */
  removeSmall(sending: Sending): void {
    const index = this.#small.findIndex((entry) => entry.sending === sending);
    if (index >= 0) this.size -= this.#small.splice(index, 1)[0]!.payload.length;
  }

  /** Adds a payload to a lane. */
  add(lane: Lane, sending: Sending, payload: Uint8Array): void {
    lane.add({ sending, payload });
    if (lane.listed) {
      this.size += payload.length;
    } else {
      this.#stalled += payload.length;
      this.schedule(lane);
    }
  }

  /** Lets a lane take turns if it has something that may be sent. */
  schedule(lane: Lane): void {
    if (lane.listed || lane.dropped || !lane.ready) return;
    lane.listed = true;
    this.#lanes.push(lane);
    this.#stalled -= lane.size;
    this.size += lane.size;
  }

  /** Whether a stream may have another message. */
  hasRoom(lane: Lane): boolean {
    if (lane.dropped || lane.size === 0) return true;
    return lane.size < LANE_BYTES && this.#stalled < STALLED_BYTES;
  }

  /** Drops what waits in a lane. */
  drop(lane: Lane): void {
    if (lane.dropped) return;
    lane.dropped = true;
    this.#begun -= lane.begun;
    if (lane === this.#next) this.#next = undefined;
    if (lane.listed) {
      this.#lanes.splice(this.#lanes.indexOf(lane), 1);
      lane.listed = false;
      this.size -= lane.size;
    } else {
      this.#stalled -= lane.size;
    }
  }

  /** The payloads of which nothing was sent. */
  unsent(): Entry[] {
    return [...this.#small, ...this.#lanes.flatMap((lane) => lane.unsent())];
  }

  /** Removes and returns the next frame; the outbox must not be empty. */
  nextFrame(): Buffer {
    const writer = this.#writer;
    this.#takeControl(writer);
    // A call's events come before its answer, and a cancel before the call that takes its place.
    if (this.#control.length > 0) return writer.finish();
    this.#takeSmall(writer);
    // The lanes get a turn in each frame, however many payloads are ahead of them.
    const turns = this.#lanes.length;
    for (let turn = 0; turn < turns && (turn === 0 || writer.size < FRAME_BYTES); turn++) this.#turn(writer);
    // Streams fill the rest; a large payload of a unary call does not, since it would delay small calls.
    while (writer.size < FRAME_BYTES && this.#lanes[0]?.credit !== undefined) {
      if (!this.#turn(writer)) break;
    }
    return writer.finish();
  }

  #takeControl(writer: Writer): void {
    let taken = 0;
    for (const envelope of this.#control) {
      if (writer.size >= FRAME_BYTES) break;
      writer.raw(envelope);
      taken++;
    }
    this.controlSize -= writer.size;
    this.#control = taken === this.#control.length ? [] : this.#control.slice(taken);
  }

  #takeSmall(writer: Writer): void {
    let taken = 0;
    for (const { sending, payload } of this.#small) {
      if (writer.size >= FRAME_BYTES) break;
      sending.writeHeader(writer, payload.length);
      writer.raw(payload);
      this.size -= payload.length;
      taken++;
    }
    this.#small = taken === this.#small.length ? [] : this.#small.slice(taken);
  }

  #turn(writer: Writer): boolean {
    const lane = this.#lanes.shift()!;
    const { begun, size, nextSize } = lane;
    if (nextSize > 0) {
      const others = this.#next !== undefined && this.#next !== lane;
      if (others || this.#begun + nextSize > REASSEMBLY_BYTES) {
        this.#next ??= lane;
        this.#lanes.push(lane);
        return false;
      }
      this.#next = undefined;
    }
    const sent = lane.takeTurn(writer);
    this.#begun += lane.begun - begun;
    this.size -= size - lane.size;
    if (lane.ready) {
      this.#lanes.push(lane);
    } else {
      lane.listed = false;
      this.size -= lane.size;
      this.#stalled += lane.size;
      if (lane.empty) lane.onEmpty?.();
    }
    lane.onRoom?.();
    return sent;
  }
}
