/** A client of a hub. */
import { HealthCheckResponse_Status, type MetricValue, SnakepitBridge } from "../gen/dspex_bridge_pb.js";
import { Dialer } from "../link/dialer.js";
import { ASK_FEATURE } from "../link/protocol.js";
import { isLost } from "../link/status.js";
import type { Endpoint } from "../link/streams.js";
import type { Logger } from "../logger.js";
import { endpointAt } from "../transport/endpoints.js";
import type { ConnectionOptions } from "../transport/grpc.js";
import type { OnAsk } from "./answering.js";
import { Caller } from "./caller.js";
import { openSession, type Session, type SessionOptions } from "./session.js";

const CONNECT_TIMEOUT_MS = 5_000;

/** How to connect to a hub. */
export interface ClientOptions extends ConnectionOptions {
  /** Milliseconds to keep trying to reach the hub; default: 5,000. */
  connectTimeoutMs?: number;
  /** Ends the attempt to connect. */
  signal?: AbortSignal;
  /** As for `deserializeValue`: whether values can be sent back without any change. */
  exact?: boolean;
  /** Answers questions of tools; without it, tools that ask get an error. */
  onAsk?: OnAsk;
  /** Receives warnings, such as that a hub has restarted; default: none. */
  logger?: Logger;
}

/**
 * Connects to a hub.
 *
 * @param address - `host:port`, `[ipv6]:port` or `unix:path`; several hubs of a cluster as `a:50051,b:50051`: the next
 *   one is used when a hub is gone.
 * @returns A client. If its connection is lost, it reconnects with exponential back-off: calls in flight fail with
 *   UNAVAILABLE, later ones wait within their own time, and sessions are resumed.
 * @throws ToolCommunicationError if the hub cannot be reached; AccessError if it does not admit this client;
 *   ValidationError if an argument is not valid.
 *
 * @example
 * ```ts
 * await using client = await connect("127.0.0.1:50051");
 * await using session = await client.session();
 * console.log(await session.call("add", { a: 1, b: 2 }));
 * ```
 */
export async function connect(address: string, options: ClientOptions = {}): Promise<Client> {
  const client = new Client(endpointAt(address, options), options);
  try {
    await client.connected(options.connectTimeoutMs ?? CONNECT_TIMEOUT_MS, options.signal);
  } catch (error) {
    await client.close();
    throw error;
  }
  return client;
}

/** A connection to a hub, made by `connect`. */
export class Client implements AsyncDisposable {
  readonly #dialer: Dialer;
  readonly #caller: Caller;
  readonly #sessions = new Set<Session>();
  readonly #options: ClientOptions;

  /** @internal */
  constructor(endpoint: Endpoint, options: ClientOptions) {
    this.#options = options;
    this.#dialer = new Dialer(endpoint, {
      greeting: { peer: `Node.js ${process.versions.node}`, features: options.onAsk ? [ASK_FEATURE] : [] },
      onRelinked: async (link) => {
        for (const session of this.#sessions) {
          await session.rejoin(link).catch((error: unknown) => {
            if (isLost(error)) throw error;
            options.logger?.warn(`session ${session.id} could not be resumed: ${(error as Error).message}`);
          });
        }
      },
    });
    this.#caller = new Caller(this.#dialer, "");
  }

  /** The address of the hub, or of all of them. */
  get address(): string {
    return this.#dialer.where;
  }

  /** Whether the connection is up now. */
  get isConnected(): boolean {
    return this.#dialer.current !== undefined;
  }

  /** Waits until the connection is up. */
  connected(timeoutMs: number = CONNECT_TIMEOUT_MS, signal?: AbortSignal): Promise<void> {
    return this.#dialer.connect(timeoutMs, signal);
  }

  /**
   * Opens a session, or attaches to it if the hub has one with this id.
   *
   * @param id - 1 to 256 printable characters; default: one is generated.
   * @throws ValidationError if the id cannot be used; ResourceExhaustedError if the hub has too many sessions.
   */
  async session(id?: string, options: SessionOptions & { signal?: AbortSignal } = {}): Promise<Session> {
    const session = await openSession(
      this.#dialer,
      id,
      {
        options,
        exact: this.#options.exact ?? false,
        onAsk: this.#options.onAsk,
        logger: this.#options.logger,
        isConnected: () => this.isConnected,
        forget: (ended) => this.#sessions.delete(ended),
      },
      options.signal,
    );
    this.#sessions.add(session);
    return session;
  }

  /** Returns whether the hub is serving. */
  async isHealthy({ signal }: { signal?: AbortSignal } = {}): Promise<boolean> {
    const { status } = await this.#caller.method(SnakepitBridge.method.healthCheck, {}, { signal });
    return status === HealthCheckResponse_Status.SERVING;
  }

  /** Reads the hub's metrics, by default all; a name that ends in "*" matches a prefix. */
  async metrics(...names: string[]): Promise<Record<string, MetricValue>> {
    return (await this.#caller.method(SnakepitBridge.method.getMetrics, { metricNames: names })).metrics;
  }

  /** Closes the connection; calls in flight fail. Sessions stay at the hub until they are idle for too long. */
  async close(): Promise<void> {
    await this.#dialer.close();
  }

  /** Ends the sessions that this client created and that are still open, and closes the connection. */
  async [Symbol.asyncDispose](): Promise<void> {
    try {
      for (const session of [...this.#sessions]) await session[Symbol.asyncDispose]();
    } finally {
      await this.close();
    }
  }
}
