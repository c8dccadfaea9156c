/** The tools of a worker, as methods that a hub calls. */
import { randomUUID } from "node:crypto";
import { setImmediate } from "node:timers/promises";
import { toBinary } from "@bufbuild/protobuf";
import { CALL_TIMEOUT_MS, MAX_MESSAGE_BYTES, STREAM_TIMEOUT_MS } from "../client/caller.js";
import {
  type CallCancelledError,
  errorInfo,
  MessageTooLargeError,
  NotFoundError,
  ToolBridgeError,
  UnimplementedError,
} from "../errors.js";
import { ErrorInfoSchema } from "../gen/dspex_bridge_pb.js";
import type { IncomingCall } from "../link/calls.js";
import type { LinkConnection } from "../link/connection.js";
import { readToolRequest, type ToolRequest } from "../toolmessages.js";
import { writeAny } from "../values/index.js";
import { type Writer, written } from "../wire.js";
import type { ToolEvent } from "./context.js";
import { isThenable, RunningCall, type RunningSetup, ToolFailure } from "./running.js";
import type { Tool } from "./tool.js";

/** Of an Any that holds bytes, beside them. */
const ANY_BYTES = 60;
/** Reports that wait for a slow reader; further ones are dropped, values never are. */
const MAX_EVENTS = 1_000;
/** Values of a stream that are collected into one result; more do not fit into a message. */
const MAX_COLLECTED = MAX_MESSAGE_BYTES / 2;
/** Milliseconds that a generator may run before timers and the connection have a turn. */
const TURN_MS = 5;

/** Runs tools for a hub, which has already checked sessions and limits. */
export class ToolService {
  readonly #tools: ReadonlyMap<string, Tool>;
  readonly #exact: boolean;
  readonly #running = new Set<RunningCall>();

  constructor(tools: ReadonlyMap<string, Tool>, exact: boolean) {
    this.#tools = tools;
    this.#exact = exact;
  }

  /** Serves a call of the hub. */
  readonly serve = (call: IncomingCall, connection: LinkConnection): void => {
    if (call.method === "ExecuteTool") this.#execute(call, connection);
    else if (call.method === "StreamTool") void this.#stream(call, connection);
    else throw new UnimplementedError(`this worker does not serve ${call.method}`);
  };

  /** Cancels all calls that run. */
  cancelAll(reason: CallCancelledError): void {
    for (const running of [...this.#running]) running.cancel(reason);
  }

  // --------------------------------------------------------------------------------------------------- unary

  #execute(call: IncomingCall, connection: LinkConnection): void {
    const began = performance.now();
    const request = readToolRequest(call.payload, { streaming: false });
    const answer = (outcome: Outcome) => {
      connection.reply(call, responseOf(outcome, request.id, performance.now() - began));
    };
    let running: RunningCall | undefined;
    try {
      const tool = this.#find(request);
      running = this.#open({ tool, request, call, connection, emit: undefined }, CALL_TIMEOUT_MS, (error) => {
        if (error) answer({ error });
        else connection.endCancelled(call);
      });
      const result = running.start();
      if (!isPending(result)) {
        this.#settle(running, () => answer({ value: result }));
        return;
      }
      running.limit();
      void collected(result, running).then(
        (value) => this.#settle(running!, () => answer({ value })),
        (error: unknown) => this.#settle(running!, () => answer({ error })),
      );
    } catch (error) {
      if (running) this.#settle(running, () => answer({ error }));
      else answer({ error });
    }
  }

  /** Answers a call whose tool has ended, unless it was ended before. */
  #settle(running: RunningCall, answer: () => void): void {
    if (running.over) return;
    running.finish();
    this.#running.delete(running);
    answer();
  }

  // -------------------------------------------------------------------------------------------------- streams

  async #stream(call: IncomingCall, connection: LinkConnection): Promise<void> {
    const began = performance.now();
    let sender: ChunkSender | undefined;
    let running: RunningCall | undefined;
    try {
      const request = readToolRequest(call.payload, { streaming: true });
      const id = request.id || connection.requestIdOf(call) || randomUUID().replaceAll("-", "");
      const chunks = new ChunkSender(call, connection, id, began);
      sender = chunks;
      const emit = request.includeEvents ? (event: ToolEvent) => chunks.event(event) : undefined;
      const tool = this.#find(request);
      running = this.#open({ tool, request, call, connection, emit }, STREAM_TIMEOUT_MS, (error) => {
        if (error) chunks.fail(error);
        else connection.endCancelled(call);
      });
      running.limit();
      await this.#send(running, chunks);
      this.#settle(running, () => chunks.complete());
    } catch (error) {
      if (!sender) connection.end(call, error);
      else if (running) this.#settle(running, () => sender!.fail(error));
      else sender.fail(error);
    }
  }

  async #send(running: RunningCall, chunks: ChunkSender): Promise<void> {
    const result = await running.start();
    const values = iterate(result);
    if (!values) {
      if (!running.over) await chunks.data(result);
      return;
    }
    const turns = new Turns();
    let step = await nextOf(values);
    try {
      for (; !step.done && !running.over; step = await nextOf(values)) {
        await chunks.data(step.value);
        await turns.pass();
      }
    } finally {
      if (!step.done) leave(values);
    }
  }

  #find({ toolId }: ToolRequest): Tool {
    const tool = this.#tools.get(toolId);
    if (!tool) {
      throw new NotFoundError(`this worker has no tool ${JSON.stringify(toolId.slice(0, 100))}`, {
        type: "ToolNotFound",
      });
    }
    return tool;
  }

  #open(
    { tool, request, call, connection, emit }: Opened,
    fallbackMs: number,
    onEnd: (error: ToolBridgeError | undefined) => void,
  ): RunningCall {
    const timeoutMs = call.timeoutMs || request.timeoutMs || fallbackMs;
    const running: RunningCall = new RunningCall({
      tool,
      request,
      call,
      connection,
      emit,
      exact: this.#exact,
      timeoutMs,
      deadline: performance.now() + timeoutMs,
      onEnd: (error) => {
        this.#running.delete(running);
        onEnd(error);
      },
    });
    this.#running.add(running);
    return running;
  }
}

/** A call whose tool was found. */
type Opened = Pick<RunningSetup, "tool" | "request" | "call" | "connection" | "emit">;

/** The result of a call, or why it has none. */
type Outcome = { value: unknown } | { error: unknown };

/** Writes a ToolCallResponse; a result that cannot be sent becomes an error. */
function responseOf(outcome: Outcome, requestId: string, ms: number): Buffer {
  try {
    return written((writer) => {
      if ("value" in outcome) writeResult(writer, outcome.value);
      else writer.bytes(0x1a, errorBytes(outcome.error));
      const metrics = writer.begin(0x22);
      writeMetrics(writer, ms);
      writer.end(metrics);
      if (requestId) writer.string(0x2a, requestId);
    });
  } catch (error) {
    if ("error" in outcome) throw error;
    return responseOf({ error }, requestId, ms);
  }
}

function writeResult(writer: Writer, value: unknown): void {
  writer.byte(0x08);
  writer.byte(1);
  const mark = writer.begin(0x12);
  writeValue(writer, value);
  writer.end(mark);
  if (writer.size > MAX_MESSAGE_BYTES) throw MessageTooLargeError.of("the result", writer.size, MAX_MESSAGE_BYTES);
}

/** Writes a value of a tool, whose own code, such as a getter, may throw. */
function writeValue(writer: Writer, value: unknown): void {
  try {
    writeAny(writer, value);
  } catch (error) {
    throw error instanceof ToolBridgeError ? error : new ToolFailure(error);
  }
}

function writeMetrics(writer: Writer, ms: number): void {
  writer.byte(0x08);
  writer.varint(Math.max(1, Math.ceil(ms)));
  writer.byte(0x28);
  writer.varint(Math.round(ms * 1000));
}

function errorBytes(error: unknown): Uint8Array {
  const raised = error instanceof ToolFailure;
  return toBinary(ErrorInfoSchema, errorInfo(raised ? error.error : error, { raisedByTool: raised }));
}

/** Sends the chunks of one stream. */
class ChunkSender {
  #sequence = 0;
  #values = 0;
  /** Reports since there was room for the last time. */
  #waiting = 0;

  constructor(
    private readonly call: IncomingCall,
    private readonly connection: LinkConnection,
    private readonly id: string,
    private readonly began: number,
  ) {}

  /** Sends one value; resolves when there is room for another. */
  data(value: unknown): Promise<void> {
    const chunk = this.#chunk((writer) => {
      const mark = writer.begin(0x1a, value instanceof Uint8Array ? value.length + ANY_BYTES : 0);
      writeValue(writer, value);
      writer.end(mark);
    });
    if (chunk.length > MAX_MESSAGE_BYTES) {
      throw MessageTooLargeError.of("a value of the stream", chunk.length, MAX_MESSAGE_BYTES);
    }
    this.#sequence++;
    this.#values++;
    this.connection.chunk(this.call, chunk);
    return this.connection.room(this.call);
  }

  /** Sends what the tool reports; what would pile up for a slow reader is dropped. */
  event({ key, typeUrl, value }: ToolEvent): void {
    this.#waiting = this.connection.hasRoom(this.call) ? 0 : this.#waiting + 1;
    if (this.#waiting > MAX_EVENTS) return;
    const chunk = this.#chunk((writer) => {
      const mark = writer.begin(0x22);
      writer.string(0x0a, key);
      const any = writer.begin(0x12);
      writer.string(0x0a, typeUrl);
      writer.bytes(0x12, value);
      writer.end(any);
      writer.end(mark);
    });
    this.#sequence++;
    this.connection.chunk(this.call, chunk);
  }

  /** Ends the stream. */
  complete(): void {
    const chunk = this.#chunk((writer) => {
      const mark = writer.begin(0x2a);
      writer.byte(0x08);
      writer.varint(this.#values);
      const metrics = writer.begin(0x12);
      writeMetrics(writer, performance.now() - this.began);
      writer.end(metrics);
      writer.end(mark);
    });
    this.connection.chunk(this.call, chunk);
    this.connection.end(this.call);
  }

  /** Ends the stream with an error. */
  fail(error: unknown): void {
    const chunk = this.#chunk((writer) => writer.bytes(0x32, errorBytes(error)));
    this.connection.chunk(this.call, chunk);
    this.connection.end(this.call);
  }

  #chunk(write: (writer: Writer) => void): Buffer {
    return written((writer) => {
      writer.string(0x0a, this.id);
      if (this.#sequence > 0) {
        writer.byte(0x10);
        writer.varint(this.#sequence);
      }
      write(writer);
    });
  }
}

// --------------------------------------------------------------------------------------------- what tools return

function isPending(result: unknown): boolean {
  return isThenable(result) || iterate(result) !== undefined;
}

/** Awaits a result, or collects the values of a stream. */
async function collected(pending: unknown, running: RunningCall): Promise<unknown> {
  const result = await pending;
  const values = iterate(result);
  if (!values) return result;
  const items: unknown[] = [];
  const turns = new Turns();
  for (let step = await nextOf(values); !step.done; step = await nextOf(values)) {
    items.push(step.value);
    if (running.over || items.length > MAX_COLLECTED) {
      leave(values);
      if (running.over) break;
      throw new MessageTooLargeError(
        `message too large: more than ${MAX_COLLECTED} values do not fit; read the stream`,
      );
    }
    await turns.pass();
  }
  return items;
}

/** Gives timers and the connection their turns: a generator that waits for nothing would leave them none. */
class Turns {
  #last = performance.now();

  /** Lets them have a turn if it is time. */
  async pass(): Promise<void> {
    if (performance.now() - this.#last < TURN_MS) return;
    await setImmediate();
    this.#last = performance.now();
  }
}

/** Returns the iterator of a generator; undefined for any other value: an array is one value. */
function iterate(result: unknown): AsyncIterator<unknown> | Iterator<unknown> | undefined {
  if (typeof result !== "object" || result === null) return undefined;
  if (Symbol.asyncIterator in result) return (result as AsyncIterable<unknown>)[Symbol.asyncIterator]();
  if (Object.prototype.toString.call(result) === "[object Generator]") return result as Iterator<unknown>;
  return undefined;
}

/** Ends a generator; one that waits for something else ends once that is over. */
function leave(values: AsyncIterator<unknown> | Iterator<unknown>): void {
  void (async () => values.return?.())().catch(() => undefined);
}

async function nextOf(values: AsyncIterator<unknown> | Iterator<unknown>): Promise<IteratorResult<unknown>> {
  try {
    return await values.next();
  } catch (error) {
    throw new ToolFailure(error);
  }
}
