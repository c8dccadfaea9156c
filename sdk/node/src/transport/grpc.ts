/** Frames over a bidirectional call of gRPC; nothing else knows of gRPC. */
import { readFileSync } from "node:fs";
import {
  ChannelCredentials,
  Client,
  type ClientDuplexStream,
  Metadata,
  type StatusObject,
  status,
} from "@grpc/grpc-js";
import {
  errorFromInfo,
  MessageTooLargeError,
  type ToolBridgeError,
  ToolCommunicationError,
  ValidationError,
} from "../errors.js";
import { ErrorInfoSchema } from "../gen/dspex_bridge_pb.js";
import type { Endpoint, FrameStream, StreamHandlers } from "../link/streams.js";
import { parse } from "../messages.js";
import { checkAddress, staysHere } from "./addresses.js";

const LINK_PATH = "/dspex.bridge.SnakepitBridge/Link";
const ERROR_TRAILER = "tool-bridge-error-bin";
/** gRPC's own limit is above that of a frame and of the bridge's messages, so that the bridge's errors are seen. */
const RECEIVE_BYTES = 40 * 1024 * 1024;
/** HTTP/2's window; with the default of 64 KiB a stream waits for the network at each chunk. */
const WINDOW_BYTES = 4 * 1024 * 1024;
/** How long a hub may be silent before it is asked for a sign of life, and how long it may then take. */
const KEEPALIVE_MS = { time: 30_000, timeout: 10_000 };
/** If there is another hub to go to, one that is gone should be noticed soon. */
const KEEPALIVE_OF_SEVERAL_MS = { time: 5_000, timeout: 3_000 };
/** How long a hub may take to end a link that this side has ended. */
const END_MS = 1_000;
const FIRST_BACKOFF_MS = 100;
const LAST_BACKOFF_MS = 1_000;

/** How to reach a hub. */
export interface ConnectionOptions {
  /** Bearer token, if the hub requires one. Beyond this machine it is sent over TLS only. */
  token?: string;
  /** Whether to use TLS; default: only if `tlsCa` is given. */
  tls?: boolean;
  /** PEM file with the authorities to trust; default: those of Node. */
  tlsCa?: string;
  /** Send the token beyond this machine without TLS, because the network itself is trusted. */
  allowInsecure?: boolean;
}

/** Where a hub is, reached by gRPC. */
export class GrpcEndpoint implements Endpoint {
  readonly #client: Client;
  readonly #token: string | undefined;

  /**
   * @param where - `host:port`, `[ipv6]:port` or `unix:path`.
   * @param others - Whether there are other hubs to go to.
   * @throws ValidationError if an argument is not valid.
   */
  constructor(
    readonly where: string,
    options: ConnectionOptions = {},
    { others = false }: { others?: boolean } = {},
  ) {
    checkAddress(where);
    const keepalive = others ? KEEPALIVE_OF_SEVERAL_MS : KEEPALIVE_MS;
    if (options.token !== undefined && (typeof options.token !== "string" || !/^[\x21-\x7e]+$/.test(options.token))) {
      throw new ValidationError(
        "the token must be a text of printable ASCII characters, without spaces and line breaks",
      );
    }
    const tls = options.tls ?? options.tlsCa !== undefined;
    if (options.token !== undefined && !tls && !options.allowInsecure && !staysHere(where)) {
      throw new ValidationError(
        `the token would be sent to ${where} without TLS, where others may read it: set tls or tlsCa, or ` +
          "allowInsecure if the network itself is trusted",
      );
    }
    this.#token = options.token;
    const credentials = tls
      ? ChannelCredentials.createSsl(options.tlsCa === undefined ? null : readFileSync(options.tlsCa))
      : ChannelCredentials.createInsecure();
    this.#client = new Client(where, credentials, {
      "grpc.max_receive_message_length": RECEIVE_BYTES,
      "grpc.max_send_message_length": RECEIVE_BYTES,
      "grpc.keepalive_time_ms": keepalive.time,
      "grpc.keepalive_timeout_ms": keepalive.timeout,
      "grpc-node.flow_control_window": WINDOW_BYTES,
      // A connection for each client: closing one must not affect others.
      "grpc.use_local_subchannel_pool": 1,
      // Only the bridge knows which calls may be retried, and DNS must not configure how calls are made.
      "grpc.enable_retries": 0,
      "grpc.service_config_disable_resolution": 1,
      "grpc.initial_reconnect_backoff_ms": FIRST_BACKOFF_MS,
      "grpc.max_reconnect_backoff_ms": LAST_BACKOFF_MS,
      "grpc.enable_http_proxy": 0,
    });
  }

  dial(handlers: StreamHandlers): FrameStream {
    const metadata = new Metadata();
    if (this.#token !== undefined) metadata.set("authorization", `Bearer ${this.#token}`);
    const call = this.#client.makeBidiStreamRequest(LINK_PATH, unchanged, unchanged, metadata);
    return new GrpcStream(call, handlers);
  }

  close(): void {
    this.#client.close();
  }
}

class GrpcStream implements FrameStream {
  readonly #call: ClientDuplexStream<Buffer, Buffer>;
  #ended = false;

  constructor(call: ClientDuplexStream<Buffer, Buffer>, handlers: StreamHandlers) {
    this.#call = call;
    call.on("data", (frame: Buffer) => handlers.onFrame(frame));
    call.on("drain", () => handlers.onDrain());
    // The status says the same, and comes also without an error.
    call.on("error", () => undefined);
    call.on("status", (ended: StatusObject) => {
      this.#ended = true;
      handlers.onEnd(errorOf(ended));
    });
  }

  write(frame: Buffer): boolean {
    return this.#ended || this.#call.write(frame);
  }

  end(): void {
    if (this.#ended) return;
    this.#call.end();
    setTimeout(() => this.cancel(), END_MS).unref();
  }

  cancel(): void {
    if (!this.#ended) this.#call.cancel();
  }
}

function unchanged(frame: Buffer): Buffer {
  return frame;
}

function errorOf(ended: StatusObject): ToolBridgeError {
  const [trailer] = ended.metadata.get(ERROR_TRAILER);
  const error = Buffer.isBuffer(trailer) ? errorOfTrailer(trailer) : undefined;
  return error ?? errorOfCode(ended);
}

/** Returns the error for a status that came without one. */
export function errorOfCode({ code, details }: { code: number; details: string }): ToolBridgeError {
  if (code === status.RESOURCE_EXHAUSTED && /message larger than max/i.test(details)) {
    return new MessageTooLargeError(`message too large: ${details}`);
  }
  if (code === status.OK) return new ToolCommunicationError("Link", "UNAVAILABLE", "the hub ended the link");
  return new ToolCommunicationError("Link", status[code] ?? "UNKNOWN", reasonIn(details));
}

/** Reads the error that comes with a status; undefined if there is none that can be read. */
export function errorOfTrailer(trailer: Uint8Array | undefined): ToolBridgeError | undefined {
  if (!trailer) return undefined;
  try {
    const info = parse(ErrorInfoSchema, trailer);
    return info.type ? errorFromInfo(info) : undefined;
  } catch {
    // Malformed; the status says enough.
    return undefined;
  }
}

/** What gRPC says of a dial, without what it says around it. */
function reasonIn(details: string): string {
  const [, reason] =
    /^No connection established\. Last error: (?:Error: )?(.*?)\. Resolution note:/s.exec(details) ?? [];
  return reason ?? details;
}
