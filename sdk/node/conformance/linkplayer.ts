/** Plays a transcript at one end of the package's own link. */
import { createHash } from "node:crypto";
import { create, toBinary } from "@bufbuild/protobuf";
import { ErrorInfoSchema, LinkEventSchema, LinkStatusSchema } from "../src/gen/dspex_bridge_pb.js";
import { ToolBridgeError } from "../src/index.js";
import { type IncomingCall, OutgoingCall } from "../src/link/calls.js";
import { callPrefix } from "../src/link/envelopes.js";
import { type Greeting, Link, type LinkEventReceived } from "../src/link/protocol.js";
import { parse } from "../src/messages.js";
import { base64, bytes } from "./meanings.js";

/** Metadata of a call whose tool may ask. */
const ASKS_KEY = "tool-bridge-asks";
/** A longer payload is reported by its size and hash. */
const MAX_PAYLOAD = 4_096;

/** What the application does. */
export interface Act {
  do: string;
  id?: number;
  method?: string;
  payload?: string;
  zeros?: number;
  timeout_ms?: number;
  metadata?: Record<string, string>;
  initial_credit?: number;
  streaming?: boolean;
  reason?: string;
  bytes?: number;
  code?: number;
  message?: string;
  error?: string;
  event_message?: string;
  grace_ms?: number;
}

/** A frame that arrives, or acts of the application. */
export type Step = { feed: string; times?: number } | { acts: Act[] };

/** What the link sends and tells after a step. */
export interface Result {
  frames: string[];
  events: Record<string, unknown>[];
  failed?: string;
  raised?: string;
}

/** One end of a link, driven by the steps of a transcript. */
export class LinkPlayer {
  readonly #link: Link;
  /** A reply or an end takes a call out of the link, yet a late act may name it. */
  readonly #incoming = new Map<number, IncomingCall>();
  readonly #outgoing: OutgoingCall[] = [];

  constructor(role: string, greeting: Greeting) {
    this.#link = new Link({ dialer: role !== "hub", greeting });
  }

  /** Does each step; returns their results, the last of which may be the end of the link. */
  play(steps: Step[]): Result[] {
    const results: Result[] = [];
    for (const step of steps) {
      const result = "feed" in step ? this.#feed(step) : this.#act(step.acts);
      results.push(result);
      if (result.failed) break;
    }
    return results;
  }

  #feed({ feed, times = 1 }: { feed: string; times?: number }): Result {
    const frame = bytes(feed);
    const events: Record<string, unknown>[] = [];
    try {
      for (let time = 0; time < times; time++) {
        events.push(...this.#link.receive(frame).map((event) => this.#report(event)));
      }
    } catch (error) {
      if (!(error instanceof ToolBridgeError)) throw error;
      return { frames: [], events: [], failed: error.type };
    }
    return { frames: this.#frames(), events };
  }

  #act(acts: Act[]): Result {
    let raised: string | undefined;
    for (const act of acts) {
      try {
        this.#do(act);
      } catch (error) {
        if (!(error instanceof ToolBridgeError)) throw error;
        raised = error.type;
      }
    }
    return { frames: this.#frames(), events: [], ...(raised ? { raised } : {}) };
  }

  #frames(): string[] {
    const frames: string[] = [];
    while (this.#link.hasOutput) {
      const frame = this.#link.nextFrame();
      // A lane that waits its turn gives an empty one.
      if (frame.length > 0) frames.push(base64(frame));
    }
    return frames;
  }

  #do(act: Act): void {
    const link = this.#link;
    switch (act.do) {
      case "call":
        return this.#call(act);
      case "cancel":
        return link.cancel(this.#own(act), act.reason);
      case "consume":
        return link.grant(this.#own(act), act.bytes ?? 0);
      case "reply":
        return link.reply(this.#incoming.get(act.id!)!, payloadOf(act));
      case "chunk":
        return link.chunk(this.#incoming.get(act.id!)!, payloadOf(act));
      case "end":
        return link.end(this.#incoming.get(act.id!)!, statusOf(act));
      case "event":
        return link.tell(
          this.#incoming.get(act.id!) ?? this.#own(act),
          parse(LinkEventSchema, bytes(act.event_message)),
        );
      case "ping":
        link.ping();
        return;
      case "drain":
        return link.drain(act.grace_ms ?? 0);
      default:
        throw new Error(`there is no act ${act.do}`);
    }
  }

  #call(act: Act): void {
    const { timeout_ms: timeoutMs = 0, metadata = {}, initial_credit: initialCredit = 0 } = act;
    const prefix = callPrefix(act.method!, { timeoutMs, metadata, initialCredit });
    const call = new OutgoingCall(
      prefix,
      act.streaming ?? false,
      { onError: () => undefined },
      initialCredit || undefined,
    );
    this.#link.call(call, payloadOf(act));
    this.#outgoing.push(call);
  }

  /** A call has no id until it is sent: then it is the latest. */
  #own(act: Act): OutgoingCall {
    return this.#outgoing.find(({ id }) => id === act.id) ?? this.#outgoing.at(-1)!;
  }

  #report(event: LinkEventReceived): Record<string, unknown> {
    switch (event.type) {
      case "hello": {
        const { peer, capacity, features, metadata } = event.hello;
        return { event: "hello", peer, capacity, features, metadata };
      }
      case "call":
        return this.#reportCall(event.call);
      case "cancelled":
        return { event: "cancel", id: event.call.id, reason: event.reason };
      case "reply":
      case "chunk":
        return { event: event.type, id: event.call.id, payload: shortened(event.payload) };
      case "end": {
        const { code, message, error } = event.status;
        return {
          event: "end",
          id: event.call.id,
          code,
          message,
          error: error ? base64(toBinary(ErrorInfoSchema, error)) : "",
        };
      }
      case "event":
        return { event: "event", id: event.call.id, event_message: base64(toBinary(LinkEventSchema, event.event)) };
      case "pong":
        return { event: "pong", number: Number(event.number) };
      case "draining":
        return { event: "drain", grace_ms: event.graceMs };
    }
  }

  #reportCall(call: IncomingCall): Record<string, unknown> {
    this.#incoming.set(call.id, call);
    if (call.metadata.has(ASKS_KEY)) call.onEvent = () => undefined;
    return {
      event: "call",
      id: call.id,
      method: call.method,
      payload: shortened(call.payload),
      timeout_ms: call.timeoutMs,
      metadata: Object.fromEntries(call.metadata),
      initial_credit: call.credit,
    };
  }
}

function payloadOf(act: Act): Uint8Array {
  return act.zeros === undefined ? bytes(act.payload) : new Uint8Array(act.zeros);
}

function statusOf(act: Act) {
  const error = act.error ? { error: parse(ErrorInfoSchema, bytes(act.error)) } : {};
  return create(LinkStatusSchema, { code: act.code, message: act.message ?? "", ...error });
}

function shortened(payload: Uint8Array): unknown {
  if (payload.length <= MAX_PAYLOAD) return base64(payload);
  return { size: payload.length, sha256: createHash("sha256").update(payload).digest("hex") };
}
