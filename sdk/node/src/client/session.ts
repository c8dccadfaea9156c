/** A session: tool calls, variables and agents of one group of peers. */
import { randomUUID } from "node:crypto";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import {
  ConflictError,
  NotFoundError,
  ProtocolError,
  SessionExpiredError,
  SessionNotFoundError,
  ValidationError,
} from "../errors.js";
import { type LinkEvent, type SessionInfo, SnakepitBridge, type ToolSpec } from "../gen/dspex_bridge_pb.js";
import type { Carrier } from "../link/connection.js";
import { isLost } from "../link/status.js";
import type { Logger } from "../logger.js";
import { describe, isName } from "../texts.js";
import type { ToolArguments } from "../toolmessages.js";
import { Agents } from "./agents.js";
import type { OnAsk } from "./answering.js";
import { Caller } from "./caller.js";
import { type BatchItem, type BatchOptions, type BatchResult, type CallOptions, ToolCalls } from "./calls.js";
import { Variables } from "./variables.js";

const methods = SnakepitBridge.method;
/** How often a list of tools that changes while it is read is read again. */
const MAX_LISTINGS = 10;
/** Tools of a session that are listed; a hub that goes on never ends. */
const MAX_TOOLS = 200_000;
/** Names the log record that carries a call's trailing metadata over a link. */
const METADATA_LOGGER = "tool-bridge.trailing-metadata";

/** How a session is opened. */
export interface SessionOptions {
  /** Kept with a new session. */
  metadata?: Record<string, string>;
  /** Concurrent calls of a new session; further ones wait in order. Default: 100. */
  maxConcurrentTools?: number;
  /** Milliseconds of calls that set no timeout, in a new session. Default: 30,000. */
  defaultTimeoutMs?: number;
  /** Whether a new session keeps the results of idempotent tools for a time. */
  enableCaching?: boolean;
  /** Whether the session stays at the hub when it is disposed of, even if this client created it. */
  keep?: boolean;
  /** Called when the session was created again, empty, at a hub that has restarted. */
  onRenewed?: () => void;
}

/** A tool as a function, made by `Session.tool`. */
export interface ToolFunction<Args extends ToolArguments, Result> {
  (args?: Args, options?: CallOptions): Promise<Result>;
  /** As `Session.stream`. */
  stream(args?: Args, options?: CallOptions): AsyncGenerator<Result, void, undefined>;
}

/** A session, opened by `Client.session`. */
export class Session implements AsyncDisposable {
  /** The session's variables. */
  readonly variables: Variables;
  /** The session's agents. */
  readonly agents: Agents;
  /** Whether this client created the session; such a session ends when it is disposed of. */
  readonly created: boolean;
  readonly #caller: Caller;
  readonly #calls: ToolCalls;
  readonly #setup: SessionSetup;
  /** When the session began, which shows whether the hub has restarted. */
  #beganAt: number;

  /** @internal */
  constructor(setup: SessionSetup, opened: { caller: Caller; created: boolean; beganAt: number }) {
    this.#setup = setup;
    this.#caller = opened.caller;
    this.#calls = new ToolCalls(opened.caller);
    this.variables = new Variables(opened.caller);
    this.agents = new Agents(opened.caller);
    this.created = opened.created;
    this.#beganAt = opened.beganAt;
  }

  /** The session's id. */
  get id(): string {
    return this.#caller.sessionId;
  }

  /**
   * Calls a tool and resolves with its result.
   *
   * @param tool - Its name or id.
   * @param args - Its arguments: an object gives them by name, an array in their order.
   * @returns The result; of a streaming tool, the array of its values.
   * @throws ToolExecutionError if the tool threw, or the hub refused the call; ToolTimeoutError if it took too long;
   *   ToolCommunicationError if nobody answered; SerializationError if an argument cannot be sent.
   *
   * @example
   * ```ts
   * const sum = await session.call<number>("add", { a: 1, b: 2 }, { timeoutMs: 5_000 });
   * ```
   */
  call<T = unknown>(tool: string, args: ToolArguments = {}, options: CallOptions = {}): Promise<T> {
    return this.#calls.call<T>(tool, args, options);
  }

  /**
   * Iterates over what a tool yields, at the pace of the reader; of a tool that returns, over its result.
   *
   * Leaving the loop ends the stream, and the tool with it. Arguments and errors as for `call`.
   *
   * @example
   * ```ts
   * for await (const line of session.stream<string>("read_log", { name: "app" })) console.log(line);
   * ```
   */
  stream<T = unknown>(
    tool: string,
    args: ToolArguments = {},
    options: CallOptions = {},
  ): AsyncGenerator<T, void, undefined> {
    return this.#calls.stream<T>(tool, args, options);
  }

  /**
   * Returns a tool as a function.
   *
   * @param options - Settings of all its calls; those of a call come before them.
   *
   * @example
   * ```ts
   * const add = session.tool<{ a: number; b: number }, number>("add", { timeoutMs: 5_000 });
   * console.log(await add({ a: 1, b: 2 }));
   * ```
   */
  tool<Args extends ToolArguments = ToolArguments, Result = unknown>(
    name: string,
    options: CallOptions = {},
  ): ToolFunction<Args, Result> {
    const call = (args?: Args, own?: CallOptions) => this.call<Result>(name, args, { ...options, ...own });
    const stream = (args?: Args, own?: CallOptions) => this.stream<Result>(name, args, { ...options, ...own });
    return Object.assign(call, { stream });
  }

  /**
   * Makes many calls in one request; resolves with how each ended, in the order of the items.
   *
   * @throws ToolBridgeError if the whole batch was refused.
   *
   * @example
   * ```ts
   * const [sum] = await session.batch([{ tool: "add", args: { a: 1, b: 2 } }]);
   * if (sum?.status === "fulfilled") console.log(sum.value);
   * ```
   */
  batch<T = unknown>(items: readonly BatchItem[], options: BatchOptions = {}): Promise<BatchResult<T>[]> {
    return this.#calls.batch<T>(items, options);
  }

  /** Lists the tools that the session sees, sorted by name. */
  async tools(options: { signal?: AbortSignal } = {}): Promise<ToolSpec[]> {
    for (let listing = 1; ; listing++) {
      try {
        return await this.#listTools(options);
      } catch (error) {
        // They changed between two pages.
        if (!(error instanceof ConflictError) || listing === MAX_LISTINGS) throw error;
      }
    }
  }

  async #listTools({ signal }: { signal?: AbortSignal }): Promise<ToolSpec[]> {
    const tools: ToolSpec[] = [];
    let pageToken = "";
    do {
      const page = await this.#caller.method(methods.getSessionTools, { sessionId: this.id, pageToken }, { signal });
      for (const tool of page.tools) tools.push(tool);
      pageToken = page.nextPageToken;
      if (pageToken && (page.tools.length === 0 || tools.length > MAX_TOOLS)) {
        throw new ProtocolError(`the hub's list of tools does not end: ${tools.length} came, and there are more`);
      }
    } while (pageToken);
    return tools;
  }

  /** Describes the session. */
  info({ signal }: { signal?: AbortSignal } = {}): Promise<SessionInfo> {
    return this.#caller.method(methods.getSessionInfo, { sessionId: this.id }, { signal });
  }

  /** Ends the session at the hub, for all its peers, after its calls in flight; `force` cancels them instead. */
  async end({ force = false, signal }: { force?: boolean; signal?: AbortSignal } = {}): Promise<void> {
    this.#setup.forget(this);
    await this.#caller.method(methods.cleanupSession, { sessionId: this.id, force }, { signal });
  }

  /**
   * Ends the session if this client created it, unless it was opened with `keep`.
   *
   * At a hub that is gone it ends by itself, when it was idle for too long.
   */
  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.created || this.#setup.options.keep || !this.#setup.isConnected()) {
      this.#setup.forget(this);
      return;
    }
    try {
      await this.end();
    } catch (error) {
      if (!isLost(error) && !(error instanceof NotFoundError)) throw error;
    }
  }

  /**
   * Resumes the session over another link, or creates it again at a hub that does not have it.
   *
   * @internal
   */
  async rejoin(link: Carrier): Promise<void> {
    const caller = this.#caller.over(link);
    let found: number | undefined;
    try {
      found = await readBegin(caller);
    } catch (error) {
      if (error instanceof SessionExpiredError) {
        this.#setup.logger?.warn(`session ${this.id} ended at the hub while the link was lost`);
        return;
      }
      if (!(error instanceof SessionNotFoundError)) throw error;
    }
    const { resumed } = await initialize(caller, this.#setup.options);
    const before = this.#beganAt;
    this.#beganAt = found ?? (await readBegin(caller));
    // Another client of the session may have created it first.
    if (resumed && found === before) return;
    this.#setup.logger?.warn(`the hub has restarted: session ${this.id} was created again, and what it held is lost`);
    this.#setup.options.onRenewed?.();
  }
}

/** What a session is given by its client. */
export interface SessionSetup {
  options: SessionOptions;
  exact: boolean;
  onAsk: OnAsk | undefined;
  logger: Logger | undefined;
  isConnected(): boolean;
  forget(session: Session): void;
}

/** Opens a session, or attaches to it if it exists; without an id, one is generated. */
export async function openSession(
  carrier: Carrier,
  id: string | undefined,
  setup: SessionSetup,
  signal?: AbortSignal,
): Promise<Session> {
  if (id !== undefined && !isName(id)) {
    throw new ValidationError(`the id of a session must be a text of 1 to 256 characters, not ${describe(id)}`);
  }
  const caller = new Caller(carrier, id ?? randomUUID().replaceAll("-", ""), {
    exact: setup.exact,
    onAsk: setup.onAsk,
  });
  const { resumed } = await initialize(caller, setup.options, signal);
  return new Session(setup, { caller, created: id === undefined || !resumed, beganAt: await readBegin(caller) });
}

async function initialize(
  caller: Caller,
  options: SessionOptions,
  signal?: AbortSignal,
): Promise<{ resumed: boolean }> {
  const { metadata = {}, maxConcurrentTools = 0, defaultTimeoutMs = 0, enableCaching = false } = options;
  const config = { maxConcurrentTools, defaultTimeoutMs, enableCaching };
  return caller.method(
    methods.initializeSession,
    { sessionId: caller.sessionId, metadata, config },
    { signal, onEvent: (event) => takeDefaults(caller, event) },
  );
}

/** Takes the session's defaults, which come as trailing metadata. */
function takeDefaults(caller: Caller, { kind }: LinkEvent): void {
  if (kind.case !== "log" || kind.value.logger !== METADATA_LOGGER) return;
  const { fields } = kind.value;
  const milliseconds = (name: string) => Number.parseInt(fields[`tool-bridge-${name}-ms`] ?? "", 10) || undefined;
  caller.callTimeoutMs = milliseconds("call-timeout") ?? caller.callTimeoutMs;
  caller.streamTimeoutMs = milliseconds("stream-timeout") ?? caller.streamTimeoutMs;
}

async function readBegin(caller: Caller): Promise<number> {
  const { createdAt } = await caller.method(methods.getSessionInfo, { sessionId: caller.sessionId });
  return createdAt ? timestampMs(createdAt) : 0;
}
