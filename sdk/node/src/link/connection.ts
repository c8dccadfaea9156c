/** A link over a stream of frames: moves the frames, and gives each event to its call. */

import { create } from "@bufbuild/protobuf";
import { type ToolBridgeError, UnimplementedError } from "../errors.js";
import { type LinkEvent, type LinkHello, LinkStatusSchema } from "../gen/dspex_bridge_pb.js";
import type { IncomingCall, OutgoingCall } from "./calls.js";
import { type Greeting, Link, type LinkEventReceived } from "./protocol.js";
import { CANCELLED, errorOfStatus, linkError, reasonOf, statusOf } from "./status.js";
import type { Endpoint, FrameStream } from "./streams.js";

/** A peer that accepts a link but sends no hello for so long is not a hub, or is stuck. */
const GREETING_MS = 20_000;
/** Of a link's id, which a hub chooses. */
const MAX_LINK_ID_CHARS = 64;

/** What sends calls: a link, or a dialer that keeps one up. */
export interface Carrier {
  /** The hub's address, for error texts. */
  readonly where: string;
  /** Sends a call; the outcome goes to its handlers, also if it cannot be sent. */
  send(call: OutgoingCall, payload: Uint8Array, timeoutMs: number): void;
  /** Ends a call whose answer is no longer needed. */
  cancel(call: OutgoingCall): void;
  /** Tells the peer that `size` bytes of a stream were read. */
  grant(call: OutgoingCall, size: number): void;
  /** Sends an event of a call to the peer. */
  tell(call: OutgoingCall, event: LinkEvent): void;
}

/** Serves a call of the peer; what it throws is the call's error. */
export type Serve = (call: IncomingCall, connection: LinkConnection) => void;

export interface ConnectionSetup {
  greeting: Greeting;
  /** Undefined: the peer's calls are refused. */
  serve: Serve | undefined;
}

/** One link to a hub. */
export class LinkConnection implements Carrier {
  readonly where: string;
  /** Whether the hub has accepted the link. */
  isAccepted = false;
  /** Resolves when the hub has accepted the link; rejects with why it did not. */
  readonly greeted: Promise<LinkHello>;
  /** Resolves when the link takes no further calls: it drains, or has ended. */
  readonly unusable: Promise<void>;
  /** Resolves when the link has ended, with the calls that were never sent. */
  readonly ended: Promise<{ call: OutgoingCall; payload: Uint8Array }[]>;
  /** What the link ended with. */
  error: ToolBridgeError | undefined;
  /** Called when the link may take calls again. */
  onWritable: (() => void) | undefined;
  readonly #link: Link;
  readonly #stream: FrameStream;
  readonly #serve: Serve | undefined;
  readonly #greetingTimer: NodeJS.Timeout;
  #greet!: (hello: LinkHello) => void;
  #refuse!: (error: ToolBridgeError) => void;
  #becomeUnusable!: () => void;
  #finish!: (unsent: { call: OutgoingCall; payload: Uint8Array }[]) => void;
  #flushing: NodeJS.Immediate | undefined;
  /** Whether the stream takes no frames until it has drained. */
  #blocked = false;
  #onIdle: (() => void) | undefined;

  constructor(endpoint: Endpoint, { greeting, serve }: ConnectionSetup) {
    this.where = endpoint.where;
    this.#serve = serve;
    this.#link = new Link({ dialer: true, greeting });
    this.greeted = new Promise((resolve, reject) => {
      this.#greet = resolve;
      this.#refuse = reject;
    });
    // The link's end is seen in `ended`, too.
    this.greeted.catch(() => undefined);
    this.unusable = new Promise((resolve) => {
      this.#becomeUnusable = resolve;
    });
    this.ended = new Promise((resolve) => {
      this.#finish = resolve;
    });
    const greetingMs = endpoint.greetingMs ?? GREETING_MS;
    this.#greetingTimer = setTimeout(() => {
      this.abort(linkError("UNAVAILABLE", `the hub at ${this.where} said nothing for ${greetingMs / 1000} s`));
    }, greetingMs);
    this.#stream = endpoint.dial({
      onFrame: (frame) => this.#receive(frame),
      onDrain: () => {
        this.#blocked = false;
        this.#flush();
      },
      onEnd: (error) => this.#end(error),
    });
    this.#flush();
  }

  /**
   * The id of a call of the hub whose caller gave none. The hub makes the same one of the id of the link, which it says
   * in its hello, and of the call's number; it is empty if the hub says none.
   */
  requestIdOf(call: IncomingCall): string {
    const linkId = this.#link.peer?.metadata["link_id"];
    return linkId ? `${[...linkId].slice(0, MAX_LINK_ID_CHARS).join("")}-${call.id}` : "";
  }

  /** Whether a call may be sent now. */
  get takesCalls(): boolean {
    return this.error === undefined && this.#link.takesCalls;
  }

  send(call: OutgoingCall, payload: Uint8Array): void {
    if (this.error) {
      call.fail(this.#lost(this.error));
      return;
    }
    call.owner = this;
    try {
      this.#link.call(call, payload);
    } catch (error) {
      call.fail(error as ToolBridgeError);
      return;
    }
    this.#schedule();
  }

  cancel(call: OutgoingCall): void {
    this.#link.cancel(call);
    this.#schedule();
  }

  grant(call: OutgoingCall, size: number): void {
    this.#link.grant(call, size);
    this.#schedule();
  }

  tell(call: OutgoingCall | IncomingCall, event: LinkEvent): void {
    this.#link.tell(call, event);
    this.#schedule();
  }

  /** Answers a unary call of the peer; an answer that cannot be sent becomes an error. */
  reply(call: IncomingCall, payload: Uint8Array): void {
    try {
      this.#link.reply(call, payload);
    } catch (error) {
      this.#link.end(call, statusOf(error));
    }
    this.#schedule();
  }

  /** Sends one message of a stream, as soon as the peer's credit allows. */
  chunk(call: IncomingCall, payload: Uint8Array): void {
    this.#link.chunk(call, payload);
    this.#schedule();
  }

  /** Whether a stream may have another message now. */
  hasRoom(call: IncomingCall): boolean {
    return this.error !== undefined || this.#link.hasRoom(call);
  }

  /** Resolves when a stream may have another message; only one may wait for each stream. */
  async room(call: IncomingCall): Promise<void> {
    while (!this.hasRoom(call)) {
      await new Promise<void>((resolve) => {
        if (this.#link.hasRoom(call, resolve)) resolve();
      });
    }
  }

  /** Ends a call of the peer: a stream after its last message, or any call with an error. */
  end(call: IncomingCall, error?: unknown): void {
    this.#link.end(call, error === undefined ? create(LinkStatusSchema) : statusOf(error));
    this.#schedule();
  }

  /** Tells the hub that a call that it cancelled has stopped. */
  endCancelled(call: IncomingCall): void {
    this.#link.end(call, create(LinkStatusSchema, { code: CANCELLED, message: "the call was cancelled" }));
    this.#schedule();
  }

  /** Tells the hub to make no new calls; resolves when it has confirmed that and its open calls have ended. */
  async drain(graceMs: number): Promise<void> {
    this.#link.drain(graceMs);
    this.#schedule();
    await this.unusable;
    if (this.#link.incoming.size === 0 || this.error) return;
    await new Promise<void>((resolve) => {
      this.#onIdle = resolve;
    });
  }

  /** Sends what waits, and ends the link. */
  close(reason: ToolBridgeError): void {
    // The stream takes frames even if it wants no more now.
    while (this.#link.hasOutput && !this.error) this.#stream.write(this.#link.nextFrame());
    this.#stream.end();
    this.#end(reason);
  }

  /** Ends the link immediately. */
  abort(reason: ToolBridgeError): void {
    this.#stream.cancel();
    this.#end(reason);
  }

  // ------------------------------------------------------------------------------------------------- frames

  /** What is sent until the end of this turn of the event loop goes into one frame. */
  #schedule(): void {
    this.#flushing ??= setImmediate(() => this.#flush());
  }

  #flush(): void {
    this.#flushing = undefined;
    while (this.#link.hasOutput && !this.#blocked && !this.error) {
      this.#blocked = !this.#stream.write(this.#link.nextFrame());
    }
    this.onWritable?.();
    // A large answer is over when the last piece of it is sent.
    if (this.#onIdle && this.#link.incoming.size === 0) {
      this.#onIdle();
      this.#onIdle = undefined;
    }
  }

  #receive(frame: Buffer): void {
    if (this.error) return;
    try {
      for (const event of this.#link.receive(frame)) this.#dispatch(event);
    } catch (error) {
      const text = error instanceof Error ? error.message : String(error);
      this.abort(linkError("INTERNAL", text));
      return;
    }
    this.#schedule();
  }

  #dispatch(event: LinkEventReceived): void {
    switch (event.type) {
      case "reply":
        if (!event.call.over) {
          event.call.over = true;
          event.call.handlers.onReply?.(event.payload);
        }
        return;
      case "chunk":
        if (!event.call.over) event.call.handlers.onChunk?.(event.payload);
        return;
      case "end":
        this.#ended(event);
        return;
      case "call":
        this.#serveCall(event.call);
        return;
      case "cancelled":
        event.call.onCancel?.(event.reason);
        return;
      case "event":
        if ("handlers" in event.call) event.call.handlers.onEvent?.(event.event);
        else event.call.onEvent?.(event.event);
        return;
      case "hello":
        clearTimeout(this.#greetingTimer);
        this.isAccepted = true;
        this.#greet(event.hello);
        return;
      case "draining":
        this.#becomeUnusable();
        return;
      case "pong":
        return;
    }
  }

  #ended({ call, status }: LinkEventReceived & { type: "end" }): void {
    if (status.code !== 0) call.fail(errorOfStatus(status));
    else if (!call.over) {
      call.over = true;
      call.handlers.onComplete?.();
    }
  }

  #serveCall(call: IncomingCall): void {
    if (!this.#serve) {
      this.end(call, new UnimplementedError(`a client does not serve ${call.method}`));
      return;
    }
    try {
      this.#serve(call, this);
    } catch (error) {
      this.end(call, error);
    }
  }

  #end(error: ToolBridgeError): void {
    if (this.error) return;
    this.error = error;
    clearTimeout(this.#greetingTimer);
    if (this.#flushing) clearImmediate(this.#flushing);
    const unsent = this.#link.unsent();
    for (const call of this.#link.calls.values()) call.fail(this.#lost(error));
    for (const call of this.#link.incoming.values()) {
      call.lane?.onRoom?.();
      if (!call.cancelled) {
        call.cancelled = true;
        call.onCancel?.(`the link was lost: ${error.message}`);
      }
    }
    this.#refuse(error);
    this.#becomeUnusable();
    this.#onIdle?.();
    this.#finish(unsent);
  }

  #lost(error: ToolBridgeError): ToolBridgeError {
    if (error.type === "Cancelled") return error;
    return linkError("UNAVAILABLE", `the link to ${this.where} was lost: ${reasonOf(error)}`);
  }
}
