/** The one way in which a call is made, and its failure translated. */
import { create, type DescMethod, type MessageInitShape, type MessageShape, toBinary } from "@bufbuild/protobuf";
import { onAbort } from "../abort.js";
import {
  DeadlineExceededError,
  errorFromInfo,
  MessageTooLargeError,
  ProtocolError,
  type ToolBridgeError,
  ToolCommunicationError,
  ToolExecutionError,
  ToolTimeoutError,
} from "../errors.js";
import type { ErrorInfo, LinkEvent } from "../gen/dspex_bridge_pb.js";
import { OutgoingCall } from "../link/calls.js";
import type { Carrier } from "../link/connection.js";
import { callPrefix } from "../link/envelopes.js";
import { parse } from "../messages.js";
import { Answers, type OnAsk } from "./answering.js";

/** Of a request or an answer, as the hub has it by default. */
export const MAX_MESSAGE_BYTES = 10 * 1024 * 1024;
/** Of a call other than a tool call, and of a tool call whose session says nothing else. */
export const CALL_TIMEOUT_MS = 30_000;
export const STREAM_TIMEOUT_MS = 300_000;
export const BATCH_TIMEOUT_MS = 600_000;
/** Metadata of a call that a worker's tool makes: the number of the hub's call that the tool runs for. */
const ORIGIN_KEY = "tool-bridge-origin";
/** The timeout is sent with the request; this side waits a little longer, so that the hub can answer. */
const SLACK_MS = 1_000;
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** How one call is made. */
export interface CallSetup {
  /** What comes before the payload, made by `callPrefix`. */
  prefix: Uint8Array;
  /** The tool, or the method if it is not a tool call; for error texts. */
  target: string;
  /** Whether a tool is called: the hub's errors are then ToolExecutionErrors. */
  isTool?: boolean;
  /** Infinity: no limit. */
  timeoutMs: number;
  signal?: AbortSignal | undefined;
  /** Receives what comes beside the answer. */
  onEvent?: ((event: LinkEvent) => void) | undefined;
  /** Answers questions of the tool. */
  onAsk?: OnAsk | undefined;
}

/** Makes a call with one answer, and resolves with what `read` makes of it. */
export function unary<T>(
  carrier: Carrier,
  payload: Uint8Array,
  setup: CallSetup,
  read: (payload: Buffer) => T,
): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const { signal } = setup;
    if (signal?.aborted) {
      reject(signal.reason);
      return;
    }
    let onEvent: ((event: LinkEvent) => void) | undefined;
    const call = new OutgoingCall(setup.prefix, false, {
      onReply(reply) {
        leave();
        try {
          resolve(read(reply));
        } catch (error) {
          reject(error);
        }
      },
      onError(error) {
        leave();
        reject(translated(error, setup));
      },
      onEvent: (event) => onEvent?.(event),
    });
    const { leave, end } = timed(carrier, call, setup, reject);
    if (setup.onAsk || setup.onEvent) onEvent = listener(carrier, call, setup, end);
    carrier.send(call, payload, setup.timeoutMs);
  });
}

/** How a call that is under way ends before its answer. */
interface Ending {
  /** Forgets the timeout and the signal. */
  leave: () => void;
  /** Cancels the call, and fails it with an error. */
  end: (error: unknown) => void;
}

/** Ends a call when its time is over or its signal aborts. */
function timed(carrier: Carrier, call: OutgoingCall, setup: CallSetup, fail: (error: unknown) => void): Ending {
  const { timeoutMs, signal } = setup;
  const end = (error: unknown) => {
    leave();
    call.over = true;
    carrier.cancel(call);
    fail(error);
  };
  const ignore = signal && onAbort(signal, () => end(signal.reason));
  let timer: NodeJS.Timeout | undefined;
  if (timeoutMs < LONGEST_TIMER_MS - SLACK_MS) {
    call.deadline = performance.now() + timeoutMs;
    timer = setTimeout(() => end(lateError(setup)), timeoutMs + SLACK_MS);
  }
  function leave(): void {
    clearTimeout(timer);
    ignore?.();
  }
  return { leave, end };
}

/** Returns what takes what comes beside an answer: questions, and reports. */
function listener(
  carrier: Carrier,
  call: OutgoingCall,
  { onAsk, onEvent, target: tool }: CallSetup,
  end: (error: unknown) => void,
): (event: LinkEvent) => void {
  const answers = onAsk && new Answers({ carrier, call, tool, onAsk, end });
  return (event) => {
    if (event.kind.case === "ask" && answers) answers.take(event.kind.value);
    else onEvent?.(event);
  };
}

/** A stream of messages, read at the pace of its reader. */
export class MessageStream {
  readonly #carrier: Carrier;
  readonly #call: OutgoingCall;
  readonly #messages: Buffer[] = [];
  readonly #leave: () => void;
  #error: unknown;
  #over = false;
  #wake: (() => void) | undefined;

  constructor(carrier: Carrier, payload: Uint8Array, setup: CallSetup) {
    if (setup.signal?.aborted) throw setup.signal.reason;
    this.#carrier = carrier;
    const finish = (error?: unknown) => {
      this.#leave();
      this.#over = true;
      this.#error = error;
      this.#wake?.();
    };
    let onEvent: ((event: LinkEvent) => void) | undefined;
    this.#call = new OutgoingCall(setup.prefix, true, {
      onChunk: (message) => {
        this.#messages.push(message);
        this.#wake?.();
      },
      onComplete: () => finish(),
      onError: (error) => finish(translated(error, setup)),
      onEvent: (event) => onEvent?.(event),
    });
    const { leave, end } = timed(carrier, this.#call, setup, (error) => {
      this.#messages.length = 0;
      finish(error);
    });
    this.#leave = leave;
    if (setup.onAsk || setup.onEvent) onEvent = listener(carrier, this.#call, setup, end);
    carrier.send(this.#call, payload, setup.timeoutMs);
  }

  /** Resolves with the next message, or undefined at the end. */
  async read(): Promise<Buffer | undefined> {
    while (this.#messages.length === 0) {
      if (this.#over) {
        if (this.#error !== undefined) throw this.#error;
        return undefined;
      }
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = undefined;
    }
    const message = this.#messages.shift()!;
    this.#carrier.grant(this.#call, message.length);
    return message;
  }

  /** Ends the stream; a hub that still sends is told to stop. */
  cancel(): void {
    this.#leave();
    if (this.#over) return;
    this.#over = this.#call.over = true;
    this.#messages.length = 0;
    this.#carrier.cancel(this.#call);
  }
}

/** Settings of a call other than a tool call. */
export interface MethodOptions {
  timeoutMs?: number;
  signal?: AbortSignal | undefined;
  onEvent?: (event: LinkEvent) => void;
}

/** What the calls of one session, or of one tool's context, have in common. */
export interface CallerOptions {
  /** The call of the hub that these calls are nested in; undefined: none. */
  origin?: number;
  /** As for `ReadOptions`. */
  exact?: boolean;
  /** Milliseconds that calls may take at most. */
  timeLeft?: () => number;
  /** Answers questions of tools. */
  onAsk?: OnAsk | undefined;
}

/** Makes the calls of one session. */
export class Caller {
  /** Timeouts of calls that set none, as the hub says when a session is opened. */
  callTimeoutMs = CALL_TIMEOUT_MS;
  streamTimeoutMs = STREAM_TIMEOUT_MS;
  readonly exact: boolean;
  readonly onAsk: OnAsk | undefined;
  readonly #origin: number | undefined;
  readonly #timeLeft: () => number;
  readonly #prefixes = new Map<string, Uint8Array>();

  constructor(
    readonly carrier: Carrier,
    /** Empty before there is a session. */
    readonly sessionId: string,
    { origin, exact = false, timeLeft = () => Number.POSITIVE_INFINITY, onAsk }: CallerOptions = {},
  ) {
    this.exact = exact;
    this.onAsk = onAsk;
    this.#origin = origin;
    this.#timeLeft = timeLeft;
  }

  /** Returns a caller for the same session whose calls go over one link. */
  over(carrier: Carrier): Caller {
    return new Caller(carrier, this.sessionId, { exact: this.exact });
  }

  /** Returns the time for a call: no more than is left of the call that it is nested in. */
  timeout(wanted: number): number {
    const left = this.#timeLeft();
    if (left <= 0) throw new DeadlineExceededError("the tool has no time left for a request to the hub");
    return Math.min(wanted, left);
  }

  /** Returns what comes before the payload of each call of a method. */
  prefix(method: string): Uint8Array {
    let prefix = this.#prefixes.get(method);
    if (!prefix) {
      prefix = callPrefix(
        method,
        this.#origin === undefined ? {} : { metadata: { [ORIGIN_KEY]: String(this.#origin) } },
      );
      this.#prefixes.set(method, prefix);
    }
    return prefix;
  }

  /** Calls a unary method other than a tool call; throws the error in its answer. */
  async method<M extends DescMethod>(
    method: M,
    request: MessageInitShape<M["input"]>,
    { timeoutMs = CALL_TIMEOUT_MS, signal, onEvent }: MethodOptions = {},
  ): Promise<MessageShape<M["output"]>> {
    const payload = encode(method, request);
    const setup = {
      prefix: this.prefix(method.name),
      target: method.name,
      timeoutMs: this.timeout(timeoutMs),
      signal,
      onEvent,
    };
    const answer = await unary(this.carrier, payload, setup, (reply) => decode(method, reply));
    const { error, success } = answer as { error?: ErrorInfo; success?: boolean };
    if (error) throw errorFromInfo(error);
    if (success === false) throw new ProtocolError(`the answer to ${method.name} reports a failure, but has no error`);
    return answer;
  }

  /** Opens a stream of a method other than a tool call. */
  open<M extends DescMethod>(
    method: M,
    request: MessageInitShape<M["input"]>,
    { timeoutMs = Number.POSITIVE_INFINITY, signal }: MethodOptions = {},
  ): MessageStream {
    const setup = {
      prefix: this.prefix(method.name),
      target: method.name,
      timeoutMs: this.timeout(timeoutMs),
      signal,
      onAsk: this.onAsk,
    };
    return new MessageStream(this.carrier, encode(method, request), setup);
  }
}

/** Reads a message of a method's answer. */
export function decode<M extends DescMethod>(method: M, payload: Uint8Array): MessageShape<M["output"]> {
  try {
    return parse(method.output, payload) as MessageShape<M["output"]>;
  } catch (error) {
    throw new ProtocolError(`the answer to ${method.name} cannot be read: ${(error as Error).message}`);
  }
}

function encode<M extends DescMethod>(method: M, request: MessageInitShape<M["input"]>): Uint8Array {
  const payload = toBinary(method.input, create(method.input, request as never));
  checkMessage(`the request of ${method.name}`, payload);
  return payload;
}

/** Refuses a request that the hub would refuse. */
export function checkMessage(what: string, payload: Uint8Array): void {
  if (payload.length > MAX_MESSAGE_BYTES) throw MessageTooLargeError.of(what, payload.length, MAX_MESSAGE_BYTES);
}

/** Returns the error that the caller sees. */
function translated(error: ToolBridgeError, { target, isTool }: CallSetup): ToolBridgeError {
  if (error instanceof ToolCommunicationError) return new ToolCommunicationError(target, error.code, error.reason);
  if (!isTool || error instanceof MessageTooLargeError || error instanceof ProtocolError) return error;
  const { type, details, retryable, remoteStack } = error;
  const kind = type === "TimeoutError" && error.origin === "bridge" ? ToolTimeoutError : ToolExecutionError;
  return new kind(target, error.message, { type, details, retryable, remoteStack });
}

function lateError({ target, timeoutMs }: CallSetup): ToolCommunicationError {
  return new ToolCommunicationError(
    target,
    "DEADLINE_EXCEEDED",
    `no answer within ${(timeoutMs + SLACK_MS) / 1000} s (the timeout of ${timeoutMs / 1000} s, and ` +
      `${SLACK_MS / 1000} s for the answer to arrive); whether the call had begun is not known`,
  );
}
