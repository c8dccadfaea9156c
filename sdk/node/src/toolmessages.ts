/** The messages of every tool call, written and read by hand. */
import { errorFromInfo, ProtocolError, SerializationError, type ToolBridgeError, ValidationError } from "./errors.js";
import { ErrorInfoSchema } from "./gen/dspex_bridge_pb.js";
import { readEntry } from "./link/envelopes.js";
import { parse } from "./messages.js";
import { describe } from "./texts.js";
import { writeAny } from "./values/index.js";
import { Reader, WireError, type Writer } from "./wire.js";

/** Arguments of a tool: an object gives them by name, an array in their order. */
export type ToolArguments = Readonly<Record<string, unknown>> | readonly unknown[];

/** Tags of ToolCallRequest and ToolStreamRequest, which agree in all that comes before `request_id`. */
const SESSION_TAG = 0x0a;
const TOOL_TAG = 0x12;
const ARGS_TAG = 0x1a;
const KWARGS_TAG = 0x22;
const ID_TAG = 0x2a;

/** Writes whose call it is. */
export function writeCallee(writer: Writer, sessionId: string, toolId: string): void {
  writer.string(SESSION_TAG, sessionId);
  writer.string(TOOL_TAG, toolId);
}

/** Writes the arguments of a call; a property that is undefined is left out. */
export function writeArguments(writer: Writer, tool: string, given: ToolArguments): void {
  let name: string | number = "";
  try {
    if (Array.isArray(given)) {
      for (name = 0; name < given.length; name++) {
        const mark = writer.begin(ARGS_TAG);
        writeAny(writer, given[name]);
        writer.end(mark);
      }
      return;
    }
    const named = given as Record<string, unknown>;
    for (name of Object.keys(named)) {
      const value = named[name];
      if (value === undefined) continue;
      if (!name.isWellFormed()) throw new SerializationError("a name with a lone surrogate has no UTF-8 form");
      const entry = writer.begin(KWARGS_TAG);
      writer.string(0x0a, name);
      const mark = writer.begin(0x12);
      writeAny(writer, value);
      writer.end(mark);
      writer.end(entry);
    }
  } catch (error) {
    if (!(error instanceof SerializationError)) throw error;
    throw new SerializationError(`${tool}: argument ${JSON.stringify(name)}: ${error.message}`);
  }
}

/** Refuses what is neither an object nor an array of arguments. */
export function checkArguments(tool: string, given: unknown): void {
  if (Array.isArray(given)) return;
  const prototype: unknown = typeof given === "object" && given !== null ? Object.getPrototypeOf(given) : undefined;
  if (prototype === Object.prototype || prototype === null) return;
  throw new ValidationError(
    `${tool}: the arguments must be an object of them by name, or an array of them in order, not ${describe(given)}`,
  );
}

/** Returns a reader of the result in a ToolCallResponse, which is an Any; throws its error. */
export function readResult(payload: Uint8Array, tool: string): Reader {
  let success = false;
  let result: Reader | undefined;
  let error: Buffer | undefined;
  readMessage(payload, `the answer to ${tool}`, (reader, tag) => {
    if (tag === 0x08) success = reader.varint() !== 0;
    else if (tag === 0x12) result = reader.message();
    else if (tag === 0x1a) error = reader.bytes();
    else return false;
    return true;
  });
  if (success && result) return result;
  if (success) throw new ProtocolError(`the answer to ${tool} reports success, but has no result`);
  if (!error) throw new ProtocolError(`the answer to ${tool} reports a failure, but has no error`);
  throw readError(error, tool);
}

/** Reads an ErrorInfo as an error of the tool that was called. */
export function readError(data: Uint8Array, tool: string): ToolBridgeError {
  try {
    return errorFromInfo(parse(ErrorInfoSchema, data), tool);
  } catch (error) {
    return new ProtocolError(`the error of ${tool} cannot be read: ${(error as Error).message}`);
  }
}

/** Reads the fields of a message; `take` returns false for one that it does not know. */
export function readMessage(data: Uint8Array, what: string, take: (reader: Reader, tag: number) => boolean): void {
  const reader = new Reader(data);
  try {
    while (reader.more) {
      const tag = reader.tag();
      if (!take(reader, tag)) reader.skip(tag);
    }
  } catch (error) {
    if (error instanceof WireError) throw new ProtocolError(`${what} cannot be read: ${error.message}`);
    throw error;
  }
}

/** A ToolCallRequest or ToolStreamRequest that was received; its values are readers of Anys. */
export interface ToolRequest {
  sessionId: string;
  toolId: string;
  args: readonly Reader[];
  kwargs: ReadonlyMap<string, Reader>;
  /** `request_id`, or `stream_id`. */
  id: string;
  timeoutMs: number;
  context: ReadonlyMap<string, string>;
  includeEvents: boolean;
}

const NOTHING: readonly Reader[] = [];
const NO_VALUES: ReadonlyMap<string, Reader> = new Map();
const NO_TEXTS: ReadonlyMap<string, string> = new Map();
const NO_VALUE = new Uint8Array(0);

/** Reads the request of a tool call, or of a stream. */
export function readToolRequest(payload: Uint8Array, { streaming }: { streaming: boolean }): ToolRequest {
  const tags = streaming ? STREAM_TAGS : CALL_TAGS;
  const args: Reader[] = [];
  let kwargs: Map<string, Reader> | undefined;
  let context: Map<string, string> | undefined;
  const request: ToolRequest = {
    sessionId: "",
    toolId: "",
    args: NOTHING,
    kwargs: NO_VALUES,
    id: "",
    timeoutMs: 0,
    context: NO_TEXTS,
    includeEvents: false,
  };
  readMessage(payload, "the request", (reader, tag) => {
    switch (tag) {
      case SESSION_TAG:
        request.sessionId = reader.string();
        return true;
      case TOOL_TAG:
        request.toolId = reader.string();
        return true;
      case ARGS_TAG:
        args.push(reader.message());
        return true;
      case KWARGS_TAG:
        kwargs ??= new Map();
        readNamed(reader.message(), kwargs);
        return true;
      case ID_TAG:
        request.id = reader.string();
        return true;
      case tags.timeout:
        request.timeoutMs = reader.count();
        return true;
      case tags.context:
        context ??= new Map();
        readEntry(reader.message(), context);
        return true;
      case tags.config:
        request.includeEvents = readIncludeEvents(reader.message());
        return true;
      default:
        return false;
    }
  });
  request.args = args;
  if (kwargs) request.kwargs = kwargs;
  if (context) request.context = context;
  return request;
}

/** Tags of the fields in which the two requests differ. */
const CALL_TAGS = { timeout: 0x30, context: 0x3a, config: -1 };
const STREAM_TAGS = { timeout: 0x38, context: 0x42, config: 0x32 };

function readNamed(reader: Reader, values: Map<string, Reader>): void {
  let name = "";
  let value: Reader | undefined;
  while (reader.more) {
    const tag = reader.tag();
    if (tag === 0x0a) name = reader.string();
    else if (tag === 0x12) value = reader.message();
    else reader.skip(tag);
  }
  values.set(name, value ?? new Reader(NO_VALUE));
}

function readIncludeEvents(reader: Reader): boolean {
  let include = false;
  while (reader.more) {
    const tag = reader.tag();
    if (tag === 0x20) include = reader.varint() !== 0;
    else reader.skip(tag);
  }
  return include;
}
