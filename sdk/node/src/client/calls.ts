/** Tool calls: one answer, a stream, or a batch. */
import { randomUUID } from "node:crypto";
import { anyUnpack } from "@bufbuild/protobuf/wkt";
import { Backoff, pause } from "../backoff.js";
import { errorFromInfo, ProtocolError, ToolBridgeError, ValidationError } from "../errors.js";
import {
  type LogRecord,
  LogRecordSchema,
  type Progress,
  ProgressSchema,
  SnakepitBridge,
  type StreamMetadata,
  StreamMetadataSchema,
  type ToolCallResult,
} from "../gen/dspex_bridge_pb.js";
import { parse } from "../messages.js";
import { describe, isName } from "../texts.js";
import {
  checkArguments,
  readError,
  readMessage,
  readResult,
  type ToolArguments,
  writeArguments,
  writeCallee,
} from "../toolmessages.js";
import { deserializeValue, readAny } from "../values/index.js";
import { type Reader, type Writer, written } from "../wire.js";
import { BATCH_TIMEOUT_MS, type Caller, checkMessage, MessageStream, unary } from "./caller.js";
import { leavable } from "./leaving.js";

/** The largest number of milliseconds that the wire has room for. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1;

/** Settings of a tool call. */
export interface CallOptions {
  /** Milliseconds; default: as the hub says, 30 s for a call and 5 minutes for a stream. */
  timeoutMs?: number;
  /** Cancels the call, which then rejects with the signal's reason. */
  signal?: AbortSignal;
  /**
   * 1 to 256 printable characters. In a session, a call with the same key and arguments as an earlier one does not run
   * again, but gets the earlier answer. Streams do not take a key.
   */
  idempotencyKey?: string;
  /**
   * Further tries if an error is retryable: the hub was not reached, the call timed out, or the answer says so. Each has
   * the whole timeout, after exponential back-off or the wait that the answer asks for. They share an idempotency key,
   * so that the call does not take effect twice. Default: 0. Streams are not tried again.
   */
  retries?: number;
  /** Sent to the tool, which finds it in its context. */
  metadata?: Readonly<Record<string, string>>;
  /** Called with each progress that the tool reports. */
  onProgress?: (progress: Progress) => void;
  /** Called with each line that the tool logs. */
  onLog?: (record: LogRecord) => void;
}

/** One call of a batch. */
export interface BatchItem {
  tool: string;
  args?: ToolArguments;
}

/** Settings of a batch. */
export interface BatchOptions {
  /** Milliseconds for the whole batch; default: 10 minutes. */
  timeoutMs?: number;
  signal?: AbortSignal;
  /** Run the calls one after another, in order. Default: concurrently. */
  sequential?: boolean;
  /** Start no further calls after the first failure; their errors are of type Cancelled. */
  stopOnError?: boolean;
  /** Concurrent calls; default: as many as the session allows. */
  maxParallel?: number;
}

/** How one call of a batch ended, as of `Promise.allSettled`. */
export type BatchResult<T = unknown> =
  | { status: "fulfilled"; value: T }
  | { status: "rejected"; reason: ToolBridgeError };

/** Makes the tool calls of one session. */
export class ToolCalls {
  readonly #caller: Caller;
  /** What the requests of a tool have in common, by tool. */
  readonly #callees = new Map<string, Uint8Array>();

  constructor(caller: Caller) {
    this.#caller = caller;
  }

  /** See `Session.call`. */
  call<T>(tool: string, args: ToolArguments, options: CallOptions): Promise<T> {
    if (options.retries) return this.#callAgain<T>(tool, args, options, options.retries);
    if (options.onProgress || options.onLog) return this.#callWithEvents(tool, args, options);
    try {
      const caller = this.#caller;
      const timeoutMs = this.#timeout(options, caller.callTimeoutMs);
      const payload = this.#request(tool, args, options, { timeoutTag: 0x30, contextTag: 0x3a, timeoutMs });
      const { signal } = options;
      const setup = {
        prefix: caller.prefix("ExecuteTool"),
        target: tool,
        isTool: true,
        timeoutMs,
        signal,
        onAsk: caller.onAsk,
      };
      return unary(caller.carrier, payload, setup, (reply) => {
        return readAny(readResult(reply, tool), caller.exact) as T;
      });
    } catch (error) {
      return Promise.reject(error);
    }
  }

  async #callAgain<T>(tool: string, args: ToolArguments, options: CallOptions, retries: number): Promise<T> {
    if (!Number.isSafeInteger(retries) || retries < 0) {
      throw new ValidationError(`retries must be a whole number from 0, not ${describe(retries)}`);
    }
    const hasEvents = options.onProgress !== undefined || options.onLog !== undefined;
    // A call with events is a stream, which takes no key.
    const key = hasEvents ? {} : { idempotencyKey: options.idempotencyKey ?? randomUUID() };
    const backoff = new Backoff();
    for (let left = retries; ; left--) {
      try {
        return await this.call<T>(tool, args, { ...options, ...key, retries: 0 });
      } catch (error) {
        if (left <= 0 || !(error instanceof ToolBridgeError) || !error.retryable) throw error;
        await pause(error.retryAfterMs ?? backoff.next(), options.signal);
      }
    }
  }

  async #callWithEvents<T>(tool: string, args: ToolArguments, options: CallOptions): Promise<T> {
    const values: T[] = [];
    for await (const value of this.stream<T>(tool, args, options)) values.push(value);
    if (values.length !== 1) throw new ProtocolError(`${tool} returns one value, but its stream had ${values.length}`);
    return values[0]!;
  }

  /** See `Session.stream`. */
  stream<T>(tool: string, args: ToolArguments, options: CallOptions): AsyncGenerator<T, void, undefined> {
    return leavable((signal) => this.#stream<T>(tool, args, { ...options, signal }), options.signal);
  }

  async *#stream<T>(tool: string, args: ToolArguments, options: CallOptions): AsyncGenerator<T, void, undefined> {
    if (options.idempotencyKey !== undefined) {
      throw new ValidationError(
        `${tool}: a stream does not take an idempotency key; use one for calls, without onProgress and onLog`,
      );
    }
    const caller = this.#caller;
    const timeoutMs = this.#timeout(options, caller.streamTimeoutMs);
    const payload = this.#request(tool, args, options, { timeoutTag: 0x38, contextTag: 0x42, timeoutMs });
    const setup = {
      prefix: caller.prefix("StreamTool"),
      target: tool,
      isTool: true,
      onAsk: caller.onAsk,
      timeoutMs,
      signal: options.signal,
    };
    const stream = new MessageStream(caller.carrier, payload, setup);
    try {
      let expected = 0;
      for (let message = await stream.read(); message; message = await stream.read()) {
        const chunk = readChunk(message, tool, expected++);
        if (chunk.data) yield readAny(chunk.data, caller.exact) as T;
        else if (chunk.complete) return;
        else if (chunk.error) throw readError(chunk.error, tool);
        else if (chunk.metadata) tellEvent(chunk.metadata, tool, options);
        else throw new ProtocolError(`chunk ${expected - 1} of the stream of ${tool} is empty`);
      }
    } finally {
      stream.cancel();
    }
    throw new ProtocolError(`the stream of ${tool} ended without 'complete' or 'error'`);
  }

  /** See `Session.batch`. */
  async batch<T>(items: readonly BatchItem[], options: BatchOptions): Promise<BatchResult<T>[]> {
    if (!Array.isArray(items)) throw new ValidationError(`a batch must be an array of calls, not ${describe(items)}`);
    if (items.length === 0) return [];
    const payload = this.#batchRequest(items, options);
    const caller = this.#caller;
    const method = SnakepitBridge.method.batchExecuteTools;
    const setup = {
      prefix: caller.prefix(method.name),
      target: method.name,
      timeoutMs: this.#timeout(options, BATCH_TIMEOUT_MS),
      signal: options.signal,
      onAsk: caller.onAsk,
    };
    const answer = await unary(caller.carrier, payload, setup, (reply) => parse(method.output, reply));
    if (answer.error) throw errorFromInfo(answer.error);
    if (answer.results.length !== items.length) {
      throw new ProtocolError(`a batch of ${items.length} calls was answered with ${answer.results.length} results`);
    }
    return answer.results.map((result, index) => settled<T>(result, items[index]!.tool, caller.exact));
  }

  #batchRequest(
    items: readonly BatchItem[],
    { sequential = false, stopOnError = false, maxParallel = 0 }: BatchOptions,
  ): Buffer {
    const payload = written((writer) => {
      writer.string(0x0a, this.#caller.sessionId);
      for (const [index, item] of items.entries()) writeItem(writer, index, item);
      const config = writer.begin(0x22);
      writeCounts(writer, [sequential ? 0 : 1, stopOnError ? 1 : 0, maxParallel]);
      writer.end(config);
    });
    checkMessage("the batch", payload);
    return payload;
  }

  #timeout({ timeoutMs }: { timeoutMs?: number }, wanted: number): number {
    if (timeoutMs !== undefined && !(typeof timeoutMs === "number" && timeoutMs > 0)) {
      throw new ValidationError(`timeoutMs must be a number of milliseconds above 0, not ${describe(timeoutMs)}`);
    }
    return Math.min(this.#caller.timeout(timeoutMs ?? wanted), MAX_TIMEOUT_MS);
  }

  #request(
    tool: string,
    args: ToolArguments,
    options: CallOptions,
    { timeoutTag, contextTag, timeoutMs }: { timeoutTag: number; contextTag: number; timeoutMs: number },
  ): Buffer {
    checkArguments(tool, args);
    const callee = this.#callees.get(tool) ?? this.#callee(tool);
    const payload = written((writer) => {
      writer.raw(callee);
      writeArguments(writer, tool, args);
      if (options.onProgress || options.onLog) writer.raw(INCLUDE_EVENTS);
      writer.byte(timeoutTag);
      writer.varint(Math.ceil(timeoutMs));
      if (options.metadata) writeTexts(writer, contextTag, options.metadata);
      if (options.idempotencyKey !== undefined) writer.string(0x42, options.idempotencyKey);
    });
    checkMessage(`the request of ${tool}`, payload);
    return payload;
  }

  #callee(tool: string): Uint8Array {
    checkTool(tool);
    const callee = written((writer) => writeCallee(writer, this.#caller.sessionId, tool));
    this.#callees.set(tool, callee);
    return callee;
  }
}

/** The field `config` of a ToolStreamRequest, with `include_events`. */
const INCLUDE_EVENTS = Uint8Array.of(0x32, 2, 0x20, 1);

function writeTexts(writer: Writer, tag: number, texts: Readonly<Record<string, string>>): void {
  for (const [name, text] of Object.entries(texts)) {
    const entry = writer.begin(tag);
    writer.string(0x0a, name);
    writer.string(0x12, String(text));
    writer.end(entry);
  }
}

/** Writes fields of numbers, from the first on. */
function writeCounts(writer: Writer, counts: readonly number[]): void {
  for (const [index, count] of counts.entries()) {
    writer.byte((index + 1) * 8);
    writer.varint(count);
  }
}

function checkTool(tool: unknown): void {
  if (!isName(tool)) throw new ValidationError(`a call needs the name or the id of a tool, not ${describe(tool)}`);
}

function writeItem(writer: Writer, index: number, item: BatchItem): void {
  if (typeof item !== "object" || item === null) {
    throw new ValidationError(
      `item ${index} of the batch must be an object such as {tool, args}, not ${describe(item)}`,
    );
  }
  const { tool, args = {} } = item;
  checkTool(tool);
  checkArguments(tool, args);
  const mark = writer.begin(0x1a);
  writer.byte(0x08);
  writer.varint(index);
  writer.string(0x12, tool);
  writeArguments(writer, `item ${index} of the batch (${tool})`, args);
  writer.end(mark);
}

interface Chunk {
  data?: Reader;
  metadata?: Buffer;
  complete?: Buffer;
  error?: Buffer;
}

function readChunk(message: Buffer, tool: string, expected: number): Chunk {
  const chunk: Chunk = {};
  let sequence = 0;
  readMessage(message, `chunk ${expected} of the stream of ${tool}`, (reader, tag) => {
    if (tag === 0x10) sequence = reader.count();
    else if (tag === 0x1a) chunk.data = reader.message();
    else if (tag === 0x22) chunk.metadata = reader.bytes();
    else if (tag === 0x2a) chunk.complete = reader.bytes();
    else if (tag === 0x32) chunk.error = reader.bytes();
    else return false;
    return true;
  });
  if (sequence !== expected) {
    throw new ProtocolError(`the stream of ${tool} has a gap: chunk ${sequence} came where ${expected} was due`);
  }
  return chunk;
}

function tellEvent(data: Buffer, tool: string, { onProgress, onLog }: CallOptions): void {
  let metadata: StreamMetadata;
  try {
    metadata = parse(StreamMetadataSchema, data);
  } catch (error) {
    throw new ProtocolError(`an event of the stream of ${tool} cannot be read: ${(error as Error).message}`);
  }
  const { key, value } = metadata;
  if (key === "progress" && value) {
    const progress = anyUnpack(value, ProgressSchema);
    if (progress) onProgress?.(progress);
  } else if (key === "log" && value) {
    const record = anyUnpack(value, LogRecordSchema);
    if (record) onLog?.(record);
  }
}

function settled<T>(result: ToolCallResult, tool: string, exact: boolean): BatchResult<T> {
  try {
    if (result.success && result.result) {
      return { status: "fulfilled", value: deserializeValue(result.result, { exact }) as T };
    }
    const reason = result.error
      ? errorFromInfo(result.error, tool)
      : new ProtocolError(`the answer to ${tool} has neither a result nor an error`);
    return { status: "rejected", reason };
  } catch (error) {
    return { status: "rejected", reason: error as ToolBridgeError };
  }
}
