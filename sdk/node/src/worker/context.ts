/** What a tool is given beside its arguments. */
import { create, toBinary } from "@bufbuild/protobuf";
import { timestampNow } from "@bufbuild/protobuf/wkt";
import { Caller } from "../client/caller.js";
import { type BatchItem, type BatchOptions, type BatchResult, type CallOptions, ToolCalls } from "../client/calls.js";
import { Variables } from "../client/variables.js";
import type { ToolBridgeError } from "../errors.js";
import { LogRecordSchema, ProgressSchema } from "../gen/dspex_bridge_pb.js";
import type { IncomingCall } from "../link/calls.js";
import type { LinkConnection } from "../link/connection.js";
import type { ToolArguments, ToolRequest } from "../toolmessages.js";
import { type AskResult, Questions } from "./asking.js";
import { type CallerFacts, type Principal, readCaller } from "./principal.js";
import type { JsonSchema } from "./schema.js";

/** Importance of a line that a tool logs. */
export type LogLevel = "debug" | "info" | "warning" | "error";

/** What a tool reports while it runs, ready to be sent. */
export interface ToolEvent {
  key: "progress" | "log";
  typeUrl: string;
  value: Uint8Array;
}

/** What a context is made of. */
export interface ContextSetup {
  tool: { readonly name: string };
  request: ToolRequest;
  /** When the call's time is over, on the clock of `performance`. */
  deadline: number;
  /** The hub's call, and its link. */
  call: IncomingCall;
  connection: LinkConnection;
  exact: boolean;
  /** Undefined: the caller wants no events. */
  emit: ((event: ToolEvent) => void) | undefined;
}

/** The context of one call of a tool; valid until the call ends. */
export class ToolContext {
  readonly #setup: ContextSetup;
  /** Made when a tool asks for its signal, which most never do. */
  #controller: AbortController | undefined;
  #reason: ToolBridgeError | undefined;
  #caller: Caller | undefined;
  #calls: ToolCalls | undefined;
  #variables: Variables | undefined;
  #questions: Questions | undefined;
  /** Read when a tool asks for it, which most never do. */
  #callerFacts: CallerFacts | undefined;

  /** @internal */
  constructor(setup: ContextSetup) {
    this.#setup = setup;
  }

  /** Aborts when the call is cancelled, times out or loses its connection; the caller is answered at once. */
  get signal(): AbortSignal {
    if (!this.#controller) {
      this.#controller = new AbortController();
      if (this.#reason) this.#controller.abort(this.#reason);
    }
    return this.#controller.signal;
  }

  /** Milliseconds until the call's deadline. */
  get timeLeft(): number {
    return Math.max(0, this.#setup.deadline - performance.now());
  }

  /** The session that the call belongs to. */
  get sessionId(): string {
    return this.#setup.request.sessionId;
  }

  /** The id of the call, as in the hub's log: the caller's, or one that the hub has made. */
  get callId(): string {
    return this.#setup.request.id || this.#setup.connection.requestIdOf(this.#setup.call);
  }

  /** What the caller sent with the call, such as trace ids. */
  get metadata(): ReadonlyMap<string, string> {
    return this.#setup.request.context;
  }

  /**
   * On whose behalf the tool is called: who has sent the outermost call, as the hub has authenticated it. Undefined: the
   * hub does not authenticate, or calls the tool itself.
   */
  get principal(): Principal | undefined {
    return this.#from.principal;
  }

  /** How the call came from the principal, such as ["agent:planner", "tool:report"]; the last one has made it. */
  get via(): readonly string[] {
    return this.#from.via;
  }

  /** The variables of the call's session. */
  get variables(): Variables {
    this.#variables ??= new Variables(this.#opened());
    return this.#variables;
  }

  /** Calls another tool, within the time of this call; as `Session.call`. */
  call<T = unknown>(tool: string, args: ToolArguments = {}, options: CallOptions = {}): Promise<T> {
    return this.#nested().call<T>(tool, args, this.#within(options));
  }

  /** Streams another tool, within the time of this call; as `Session.stream`. */
  stream<T = unknown>(
    tool: string,
    args: ToolArguments = {},
    options: CallOptions = {},
  ): AsyncGenerator<T, void, undefined> {
    return this.#nested().stream<T>(tool, args, this.#within(options));
  }

  /** Makes many calls of other tools in one request; as `Session.batch`. */
  batch<T = unknown>(items: readonly BatchItem[], options: BatchOptions = {}): Promise<BatchResult<T>[]> {
    return this.#nested().batch<T>(items, this.#within(options));
  }

  /** Reports progress to a caller that follows it. */
  progress(current: number, { total = 0, message = "" }: { total?: number; message?: string } = {}): void {
    if (!this.#setup.emit) return;
    const value = toBinary(ProgressSchema, create(ProgressSchema, { current, total, message }));
    this.#setup.emit({ key: "progress", typeUrl: `type.googleapis.com/${ProgressSchema.typeName}`, value });
  }

  /** Sends a line to a caller that follows the tool's log. */
  log(
    message: string,
    { level = "info", fields = {} }: { level?: LogLevel; fields?: Record<string, string> } = {},
  ): void {
    if (!this.#setup.emit) return;
    const record = create(LogRecordSchema, {
      level,
      logger: this.#setup.tool.name,
      message,
      fields,
      timestamp: timestampNow(),
    });
    const value = toBinary(LogRecordSchema, record);
    this.#setup.emit({ key: "log", typeUrl: `type.googleapis.com/${LogRecordSchema.typeName}`, value });
  }

  /**
   * Asks the caller a question, and waits for the answer within the call's deadline.
   *
   * If another tool made the call, the question goes to the caller of the outermost tool.
   *
   * @param message - For a person to read, 1 to 4,096 characters.
   * @param schema - JSON Schema of the requested content: an object whose properties are strings, numbers, integers,
   *   booleans and lists of some of a few strings. Default: only whether it is accepted.
   * @throws UnimplementedError if the caller cannot answer; ValidationError if the answer does not fit the schema.
   */
  ask(message: string, schema?: JsonSchema): Promise<AskResult> {
    this.#questions ??= new Questions(this.#setup.call, this.#setup.connection);
    return this.#questions.ask(this.#setup.tool.name, message, schema);
  }

  /**
   * Ends the call for the tool.
   *
   * @internal
   */
  abort(reason: ToolBridgeError): void {
    this.#reason = reason;
    this.#controller?.abort(reason);
    this.#questions?.close(reason);
  }

  get #from(): CallerFacts {
    this.#callerFacts ??= readCaller(this.#setup.call.metadata);
    return this.#callerFacts;
  }

  #opened(): Caller {
    const { connection, call, exact } = this.#setup;
    this.#caller ??= new Caller(connection, this.sessionId, { origin: call.id, exact, timeLeft: () => this.timeLeft });
    return this.#caller;
  }

  #nested(): ToolCalls {
    this.#calls ??= new ToolCalls(this.#opened());
    return this.#calls;
  }

  #within<T extends { signal?: AbortSignal }>(options: T): T {
    const signal = options.signal ? AbortSignal.any([options.signal, this.signal]) : this.signal;
    return { ...options, signal };
  }
}
