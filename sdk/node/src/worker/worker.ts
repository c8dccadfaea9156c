/** A process that offers tools. */
import { randomUUID } from "node:crypto";
import { toBinary } from "@bufbuild/protobuf";
import { Backoff, FIRST_MS, LAST_MS, pause } from "../backoff.js";
import { Caller } from "../client/caller.js";
import {
  AlreadyExistsError,
  CallCancelledError,
  ProtocolError,
  SessionExpiredError,
  type ToolBridgeError,
  ValidationError,
} from "../errors.js";
import { SnakepitBridge, type ToolSpec, ToolSpecSchema } from "../gen/dspex_bridge_pb.js";
import type { LinkConnection } from "../link/connection.js";
import { Dialer } from "../link/dialer.js";
import { isLost, isTransient, reasonOf } from "../link/status.js";
import type { Endpoint } from "../link/streams.js";
import type { Logger } from "../logger.js";
import { describe } from "../texts.js";
import { endpointAt } from "../transport/endpoints.js";
import type { ConnectionOptions } from "../transport/grpc.js";
import { PRINCIPAL_FEATURE } from "./principal.js";
import { ToolService } from "./service.js";
import type { Tool } from "./tool.js";

const methods = SnakepitBridge.method;
const DEFAULT_CAPACITY = 100;
const CONNECT_TIMEOUT_MS = 10_000;
const GRACE_MS = 10_000;
/** Time for the callers of calls that are cut off to receive the reason. */
const DELIVERY_MS = 1_000;
/** While a worker waits for its hub, it says so this often. */
const REMINDER_MS = 60_000;
/** Of specs in one request. */
const PAGE_BYTES = 4 * 1024 * 1024;

/** What a Worker is made of. */
export interface WorkerOptions extends ConnectionOptions {
  /** The hub's `host:port`, `[ipv6]:port` or `unix:path`; several hubs of a cluster as `a:50051,b:50051`. */
  address: string;
  tools: readonly Tool[];
  /** Concurrent calls; the hub sends further calls to other workers, or queues them. Default: 100. */
  capacity?: number;
  /** Only this session sees the tools; it is created if it does not exist. Default: every session. */
  sessionId?: string;
  /** A later worker with the same id replaces this one. Default: one is generated. */
  workerId?: string;
  /** As for `deserializeValue`: whether arguments can be sent back without any change. */
  exact?: boolean;
  /** Signals on which `run` drains, such as ["SIGTERM", "SIGINT"]. Default: none. */
  drainOn?: readonly NodeJS.Signals[];
  /** Milliseconds that calls in flight have to finish when the worker drains. Default: 10,000. */
  graceMs?: number;
  /** Says why the worker waits for its hub, and when it is back. Default: `console`. */
  logger?: Logger;
}

/**
 * Offers tools to a hub, over a connection that it dials: it needs no open port.
 *
 * If the connection is lost, it reconnects with exponential back-off and registers its tools again.
 *
 * @example
 * ```ts
 * const worker = new Worker({ address: "127.0.0.1:50051", tools: [add], drainOn: ["SIGTERM", "SIGINT"] });
 * await worker.run();
 * ```
 */
export class Worker implements AsyncDisposable {
  readonly workerId: string;
  readonly #options: WorkerOptions;
  readonly #tools: ReadonlyMap<string, Tool>;
  readonly #service: ToolService;
  readonly #dialer: Dialer;
  readonly #closing = new AbortController();
  readonly #left: Promise<void>;
  #leave!: () => void;
  #started = false;
  #registered = false;
  #draining: Promise<boolean> | undefined;
  #failure: ToolBridgeError | undefined;
  /** Why the hub cannot be reached; said once and then as a reminder, not on each attempt. */
  #waitsFor = "";
  #toldAt = 0;

  /** @throws ValidationError if an option is not valid; AlreadyExistsError if two tools have the same name. */
  constructor(options: WorkerOptions) {
    const { capacity = DEFAULT_CAPACITY, address } = options;
    if (!Number.isSafeInteger(capacity) || capacity < 1) {
      throw new ValidationError(`capacity must be a whole number of 1 or more, not ${describe(capacity)}`);
    }
    this.#options = options;
    this.#tools = byName(options.tools);
    this.workerId = options.workerId ?? randomUUID().replaceAll("-", "");
    this.#service = new ToolService(this.#tools, options.exact ?? false);
    this.#left = new Promise((resolve) => {
      this.#leave = resolve;
    });
    const endpoint: Endpoint = endpointAt(address, options);
    this.#dialer = new Dialer(endpoint, {
      greeting: { peer: `Node.js ${process.versions.node}`, features: [PRINCIPAL_FEATURE] },
      serve: this.#service.serve,
      // A hub that refuses it may admit it later: tokens are changed first on one side, then on the other.
      dialAgain: (error) => this.#registered || isTransient(error),
      onWaiting: (error) => this.#sayThatItWaits(error),
      onRelinked: async (link) => {
        if (this.#registered) void this.#registerAgain(link);
      },
    });
  }

  /** Names of the offered tools. */
  get tools(): string[] {
    return [...this.#tools.keys()];
  }

  /**
   * Connects to the hub and registers the tools; resolves when they can be called.
   *
   * @param options - `connectTimeoutMs`: how long to keep trying to reach the hub, default 10,000.
   * @throws ToolCommunicationError if the hub cannot be reached; AccessError if it does not admit this worker;
   *   AlreadyExistsError if the name of a tool is taken.
   */
  async start({
    connectTimeoutMs = CONNECT_TIMEOUT_MS,
    signal,
  }: {
    connectTimeoutMs?: number;
    signal?: AbortSignal;
  } = {}): Promise<this> {
    if (this.#started)
      throw new ProtocolError("this Worker has been started before and serves only once; create another");
    this.#started = true;
    const end = performance.now() + connectTimeoutMs;
    const backoff = new Backoff();
    try {
      for (;;) {
        try {
          await this.#dialer.connect(Math.max(1, end - performance.now()), signal);
          await this.#register(new Caller(this.#dialer, this.#options.sessionId ?? ""));
          this.#registered = true;
          return this;
        } catch (error) {
          // A hub that goes away before it answers is dialled again, like one that is not running.
          if (!isLost(error) || end - performance.now() < FIRST_MS) throw error;
          await pause(Math.min(backoff.next(), Math.max(0, end - performance.now())), signal);
        }
      }
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  /**
   * Serves until the worker is drained or closed, or the signal aborts; starts the worker if necessary.
   *
   * @throws ToolBridgeError as for `start`; SessionExpiredError if the session of the tools has ended.
   */
  async run(options: { connectTimeoutMs?: number; signal?: AbortSignal } = {}): Promise<void> {
    const drain = () => void this.drain();
    for (const name of this.#options.drainOn ?? []) process.on(name, drain);
    if (options.signal?.aborted) drain();
    else options.signal?.addEventListener("abort", drain, { once: true });
    try {
      if (!this.#started) await this.start(options);
      await this.#left;
    } catch (error) {
      // It was told to leave while it still waited for its hub.
      if (!this.#draining) throw error;
    } finally {
      for (const name of this.#options.drainOn ?? []) process.off(name, drain);
      options.signal?.removeEventListener("abort", drain);
      await this.close();
    }
    if (this.#failure) throw this.#failure;
  }

  /**
   * Takes no new calls, finishes calls in flight, and disconnects.
   *
   * @param graceMs - Milliseconds until calls in flight are cancelled.
   * @returns Whether all calls finished.
   */
  drain(graceMs: number = this.#options.graceMs ?? GRACE_MS): Promise<boolean> {
    this.#draining ??= this.#drain(graceMs);
    return this.#draining;
  }

  async #drain(graceMs: number): Promise<boolean> {
    this.#closing.abort();
    const finished = await this.#dialer.drain(graceMs);
    if (!finished) {
      this.#service.cancelAll(new CallCancelledError("the call was cancelled: its worker leaves"));
      await this.#dialer.drain(DELIVERY_MS);
    }
    await this.close();
    return finished;
  }

  /** Disconnects immediately; calls in flight are cancelled. */
  async close(): Promise<void> {
    this.#closing.abort();
    await this.#dialer.close();
    this.#leave();
  }

  /** Drains. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.drain();
  }

  // ----------------------------------------------------------------------------------------------- the tools

  async #register(caller: Caller): Promise<void> {
    const { sessionId = "", capacity = DEFAULT_CAPACITY } = this.#options;
    if (sessionId) await caller.method(methods.initializeSession, { sessionId });
    for (const tools of pages([...this.#tools.values()].map(({ spec }) => spec))) {
      await caller.method(methods.registerTools, { sessionId, tools, workerId: this.workerId, capacity });
    }
    this.#waitsFor = "";
  }

  /** Registers the tools over another link, and tries again until that works. */
  async #registerAgain(link: LinkConnection): Promise<void> {
    const { logger = console, address, sessionId = "" } = this.#options;
    const backoff = new Backoff();
    while (!this.#closing.signal.aborted && !link.error) {
      try {
        await this.#register(new Caller(link, sessionId));
        logger.info(`the tools are registered at ${address} again`);
        return;
      } catch (error) {
        if (error instanceof SessionExpiredError) {
          // The worker was only for this session.
          this.#failure = error;
          this.#leave();
          return;
        }
        if (link.error) return;
        logger.warn(`the tools were not registered at ${address}: ${(error as Error).message}; trying again`);
      }
      await pause(backoff.next(), this.#closing.signal).catch(() => undefined);
    }
  }

  #sayThatItWaits(error: ToolBridgeError): void {
    if (this.#closing.signal.aborted) return;
    const { logger = console } = this.#options;
    const now = performance.now();
    if (this.#waitsFor === error.type && now - this.#toldAt < REMINDER_MS) return;
    this.#waitsFor = error.type;
    this.#toldAt = now;
    logger.warn(
      `waiting for the hub at ${this.#dialer.where}: ${reasonOf(error)}; dialling again with growing pauses of up to ` +
        `${LAST_MS / 1000} s`,
    );
  }
}

function byName(tools: readonly Tool[]): ReadonlyMap<string, Tool> {
  if (!Array.isArray(tools)) throw new ValidationError(`tools must be an array of tools, not ${describe(tools)}`);
  const map = new Map<string, Tool>();
  for (const each of tools) {
    if (typeof each !== "object" || each === null || !("spec" in each)) {
      throw new ValidationError(`tools must be made by tool({...}), not ${describe(each)}`);
    }
    if (map.has(each.name))
      throw new AlreadyExistsError(`two tools are named ${describe(each.name)}; rename one of them`);
    map.set(each.name, each);
  }
  return map;
}

/** Splits specs into pages that fit into one request each; without specs there is one empty page. */
function pages(specs: ToolSpec[]): ToolSpec[][] {
  const all: ToolSpec[][] = [[]];
  let size = 0;
  for (const spec of specs) {
    const bytes = toBinary(ToolSpecSchema, spec).length;
    if (size > 0 && size + bytes > PAGE_BYTES) {
      all.push([]);
      size = 0;
    }
    all.at(-1)!.push(spec);
    size += bytes;
  }
  return all;
}
