/** Answers questions of tools with a function of the calling program. */
import { create, type JsonObject } from "@bufbuild/protobuf";
import { ProtocolError, ValidationError } from "../errors.js";
import { type Ask, LinkEventSchema } from "../gen/dspex_bridge_pb.js";
import type { OutgoingCall } from "../link/calls.js";
import type { Carrier } from "../link/connection.js";
import { describe } from "../texts.js";

/** A question of a tool. */
export interface Question {
  /** For a person to read. */
  readonly message: string;
  /** JSON Schema of the requested content, an object of plain properties; null: only whether it is accepted. */
  readonly schema: JsonObject | null;
  /** The tool that was called, which may have called the one that asks; for a batch, the method. */
  readonly tool: string;
}

/**
 * Answers a question: an object or `true` accepts it, with this content; `false`, null and undefined decline it.
 *
 * What it throws is the error of the call.
 */
export type OnAsk = (question: Question) => AskAnswer | Promise<AskAnswer>;

/** What `OnAsk` returns. */
export type AskAnswer = JsonObject | boolean | null | undefined;

/** Questions of one call that may be open; no hub asks more. */
const MAX_OPEN_ASKS = 100;

/** The call that questions belong to. */
export interface AskedCall {
  carrier: Carrier;
  call: OutgoingCall;
  tool: string;
  onAsk: OnAsk;
  /** Ends the call with an error. */
  end: (error: unknown) => void;
}

/** Answers the questions of one call. */
export class Answers {
  readonly #asked: AskedCall;
  #open = 0;

  constructor(asked: AskedCall) {
    this.#asked = asked;
  }

  /** Answers a question; one that cannot be answered ends the call. */
  take(ask: Ask): void {
    if (this.#open === MAX_OPEN_ASKS) {
      this.#asked.end(new ProtocolError(`the hub asks more than ${MAX_OPEN_ASKS} questions at once for one call`));
      return;
    }
    this.#open++;
    this.#answer(ask)
      .catch((error: unknown) => {
        if (!this.#asked.call.over) this.#asked.end(error);
      })
      .finally(() => this.#open--);
  }

  async #answer(ask: Ask): Promise<void> {
    const { carrier, call, tool, onAsk } = this.#asked;
    let schema: JsonObject | null = null;
    try {
      if (ask.schema) schema = JSON.parse(ask.schema) as JsonObject;
    } catch {
      throw new ProtocolError("the hub asked a question whose schema is not JSON");
    }
    const given = await onAsk({ message: ask.message, schema, tool });
    const declined = given === false || given === null || given === undefined;
    if (!declined && given !== true && (typeof given !== "object" || Array.isArray(given))) {
      throw new ValidationError(`onAsk must return an object, true or false, not ${describe(given)}`);
    }
    const content = typeof given === "object" && given !== null ? { content: given } : {};
    const value = { id: ask.id, action: declined ? "decline" : "accept", ...content };
    carrier.tell(call, create(LinkEventSchema, { kind: { case: "answer", value } }));
  }
}
