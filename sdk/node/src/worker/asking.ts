/** Questions that a tool asks its caller. */
import { create, type JsonObject } from "@bufbuild/protobuf";
import { ResourceExhaustedError, type ToolBridgeError, UnimplementedError, ValidationError } from "../errors.js";
import { type Answer, LinkEventSchema } from "../gen/dspex_bridge_pb.js";
import type { IncomingCall } from "../link/calls.js";
import type { LinkConnection } from "../link/connection.js";
import { describe } from "../texts.js";
import { compileSchema } from "./jsonschema.js";
import { type JsonSchema, problemsOf } from "./schema.js";

/** Metadata of a hub's call whose tool may ask. */
const ASKS_KEY = "tool-bridge-asks";
const MAX_QUESTION_CHARS = 4_096;
const MAX_SCHEMA_CHARS = 16_384;
const MAX_OPEN_ASKS = 100;

/** How a question was answered. */
export interface AskResult {
  /** "cancel": neither accepted nor declined. */
  action: "accept" | "decline" | "cancel";
  /** The accepted content, which fits the schema; otherwise empty. */
  content: JsonObject;
}

interface Waiting {
  resolve: (answer: Answer) => void;
  reject: (error: ToolBridgeError) => void;
}

/** The questions of one call. */
export class Questions {
  readonly #call: IncomingCall;
  readonly #connection: LinkConnection;
  readonly #waiting = new Map<string, Waiting>();
  #lastId = 0;

  constructor(call: IncomingCall, connection: LinkConnection) {
    this.#call = call;
    this.#connection = connection;
    if (!call.metadata.has(ASKS_KEY)) return;
    call.onEvent = ({ kind }) => {
      if (kind.case === "answer") this.#waiting.get(kind.value.id)?.resolve(kind.value);
    };
  }

  /** See `ToolContext.ask`. */
  async ask(tool: string, message: string, schema: JsonSchema | undefined): Promise<AskResult> {
    if (!this.#call.metadata.has(ASKS_KEY)) {
      throw new UnimplementedError(
        `${tool} asked its caller, who cannot answer: it has no onAsk, made a plain RPC, or has gone`,
      );
    }
    const text = schema ? JSON.stringify(schema) : "";
    if (message.length < 1 || message.length > MAX_QUESTION_CHARS || text.length > MAX_SCHEMA_CHARS) {
      throw new ValidationError(
        `a question has a message of 1 to ${MAX_QUESTION_CHARS} characters and a schema of at most ${MAX_SCHEMA_CHARS}`,
      );
    }
    if (this.#waiting.size >= MAX_OPEN_ASKS) {
      throw new ResourceExhaustedError(`${MAX_OPEN_ASKS} questions of this call wait for their answers; ask fewer`);
    }
    const problems = schema ? compileSchema(schema) : () => [];
    const id = String(++this.#lastId);
    const answer = await new Promise<Answer>((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      const ask = { id, message, schema: text };
      this.#connection.tell(this.#call, create(LinkEventSchema, { kind: { case: "ask", value: ask } }));
    }).finally(() => this.#waiting.delete(id));
    return resultOf(answer, problems);
  }

  /** Ends the open questions: the call is over. */
  close(reason: ToolBridgeError): void {
    for (const { reject } of [...this.#waiting.values()]) reject(reason);
  }
}

function resultOf(
  { action, content = {} }: Answer,
  problems: (value: unknown) => ReturnType<ReturnType<typeof compileSchema>>,
): AskResult {
  if (action === "decline" || action === "cancel") return { action, content: {} };
  if (action !== "accept")
    throw new ValidationError(`a question was answered with the unknown action ${describe(action)}`);
  const details = problemsOf(problems(content));
  const wrong = Object.entries(details);
  if (wrong.length > 0) {
    const text = wrong.map(([name, problem]) => `${name}: ${problem}`).join("; ");
    throw new ValidationError(`the answer does not fit the question: ${text}`, { details });
  }
  return { action, content };
}
