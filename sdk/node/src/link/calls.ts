/** The calls of a link, at the end that makes them and at the end that serves them. */

import type { ToolBridgeError } from "../errors.js";
import type { LinkEvent } from "../gen/dspex_bridge_pb.js";
import type { Writer } from "../wire.js";
import { PART_TAG, REPLY_TAG, writeCallHeader, writePayloadHeader } from "./envelopes.js";
import type { Lane, Sending } from "./outbox.js";

/** How much of a stream the peer may send before more is granted, by default. */
export const INITIAL_CREDIT = 1024 * 1024;

/** Pieces of a payload that is not complete. */
export class Parts {
  readonly pieces: Uint8Array[] = [];
  size = 0;
}

/** The link that a call was given to. */
export interface CallOwner {
  cancel(call: OutgoingCall): void;
  grant(call: OutgoingCall, size: number): void;
  tell(call: OutgoingCall, event: LinkEvent): void;
}

/** How a call ends: each is called at most once, and nothing after it. */
export interface CallHandlers {
  /** The answer of a unary call. */
  onReply?(payload: Buffer): void;
  /** One message of a stream. */
  onChunk?(payload: Buffer): void;
  /** The end of a stream. */
  onComplete?(): void;
  /** The peer's error, or that of the link. */
  onError(error: ToolBridgeError): void;
  /** Progress, a log record or a question of the peer's tool. */
  onEvent?(event: LinkEvent): void;
}

/** A call that this end makes. */
export class OutgoingCall implements Sending {
  /** On its link; 0 until its first piece is sent. */
  id = 0;
  /** Whether this end has cancelled it. */
  givenUp = false;
  /** Whether it has ended. */
  over = false;
  /** Bytes that the peer may still send of the stream. */
  credit: number;
  /** Bytes that were read and not yet granted again. */
  consumed = 0;
  /** When its time is over, on the clock of `performance`. */
  deadline = Number.POSITIVE_INFINITY;
  lane: Lane | undefined;
  parts: Parts | undefined;
  /** The link that sends it; undefined while it waits for one. */
  owner: CallOwner | undefined;
  /** Gives the call its id when it is sent; set by the link. */
  issue: ((call: OutgoingCall) => number) | undefined;

  /**
   * @param prefix - Its method, written by `callPrefix`.
   * @param streaming - Whether the answer is a stream.
   * @param handlers - How it ends.
   * @param window - Bytes of a stream that the peer may send ahead.
   */
  constructor(
    public prefix: Uint8Array,
    readonly streaming: boolean,
    readonly handlers: CallHandlers,
    readonly window: number = INITIAL_CREDIT,
  ) {
    this.credit = window;
  }

  writeHeader(writer: Writer, size: number): void {
    writeCallHeader(writer, this.prefix, this.#sentId(), size);
  }

  writePartHeader(writer: Writer, size: number): void {
    writePayloadHeader(writer, PART_TAG, this.#sentId(), size);
  }

  /** Ends the call with an error. */
  fail(error: ToolBridgeError): void {
    if (this.over) return;
    this.over = true;
    this.handlers.onError(error);
  }

  /** Not earlier: ids rise in the order of sending, and a small call may overtake a large one. */
  #sentId(): number {
    return this.id || this.issue!(this);
  }
}

/** A call of the peer. */
export class IncomingCall implements Sending {
  cancelled = false;
  answered = false;
  lane: Lane | undefined;
  /** The tag of its payloads: those of a stream are chunks. */
  payloadTag = REPLY_TAG;
  /** Called when the peer cancels the call, or the link is lost. */
  onCancel: ((reason: string) => void) | undefined;
  /** Called with the peer's answers to questions. */
  onEvent: ((event: LinkEvent) => void) | undefined;

  constructor(
    readonly id: number,
    readonly method: string,
    readonly payload: Buffer,
    /** Milliseconds; 0: as the request says. */
    readonly timeoutMs: number,
    readonly metadata: ReadonlyMap<string, string>,
    public credit: number,
  ) {}

  writeHeader(writer: Writer, size: number): void {
    writePayloadHeader(writer, this.payloadTag, this.id, size);
  }

  writePartHeader(writer: Writer, size: number): void {
    writePayloadHeader(writer, PART_TAG, this.id, size);
  }
}
