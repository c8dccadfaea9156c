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

/** Answers a question of a call over its link; rejects with why the call has to end. */
export async function answerAsk(ask: Ask, { carrier, call, tool, onAsk }: AskedCall): Promise<void> {
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

/** The call that a question belongs to. */
export interface AskedCall {
  carrier: Carrier;
  call: OutgoingCall;
  tool: string;
  onAsk: OnAsk;
}
