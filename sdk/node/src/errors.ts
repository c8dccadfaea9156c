/**
 * The error classes, and the one mapping between them and the wire.
 *
 * ```text
 * ToolBridgeError
 * ├── ToolExecutionError            a tool call was answered with an error
 * │   └── ToolTimeoutError          … because it timed out
 * ├── ToolCommunicationError        a call was not answered
 * ├── ProtocolError                 the answer breaks the protocol, or the API was used out of order
 * ├── NotFoundError                 ToolNotFound, VariableNotFound, AgentNotFound
 * │   ├── SessionNotFoundError
 * │   └── SessionExpiredError
 * ├── AlreadyExistsError
 * ├── ValidationError
 * ├── SerializationError
 * ├── ConflictError                 RevisionConflict, IdempotencyConflict
 * ├── ResourceExhaustedError        RateLimitExceeded, ResourceExhausted
 * │   └── MessageTooLargeError
 * ├── DeadlineExceededError         TimeoutError
 * ├── CallCancelledError            Cancelled
 * ├── UnavailableError              WorkerUnavailable
 * ├── AccessError                   PermissionDenied, Unauthenticated
 * ├── UnimplementedError
 * └── InternalError                 a fault of the bridge
 * ```
 */
import { create } from "@bufbuild/protobuf";
import { timestampNow } from "@bufbuild/protobuf/wkt";
import { type ErrorInfo, ErrorInfoSchema } from "./gen/dspex_bridge_pb.js";
import { classNameOf, describe, withCommas } from "./texts.js";

/** Nobody reads longer messages and traces, and they must not fill a frame. */
const MAX_TYPE_CHARS = 256;
const MAX_MESSAGE_CHARS = 16_384;
const MAX_STACK_CHARS = 65_536;
const MAX_DETAIL_CHARS = 4_096;
const MAX_DETAILS = 64;
const MAX_CAUSES = 8;

/** Who raised an error: the tool itself, or the bridge around it. */
export type ErrorOrigin = "tool" | "bridge";

/** How an error type appears over gRPC and HTTP. */
export interface ErrorRule {
  /** Name of the gRPC status code. */
  readonly status: string;
  /** HTTP status code. */
  readonly http: number;
  /** Whether the same call may succeed later. */
  readonly retryable: boolean;
}

function rule(status: string, http: number, retryable = false): ErrorRule {
  return { status, http, retryable };
}

/** Every error type of the bridge. */
export const ERROR_TABLE: Readonly<Record<string, ErrorRule>> = {
  ToolNotFound: rule("NOT_FOUND", 404),
  VariableNotFound: rule("NOT_FOUND", 404),
  AgentNotFound: rule("NOT_FOUND", 404),
  SessionNotFound: rule("NOT_FOUND", 404),
  SessionExpired: rule("FAILED_PRECONDITION", 410),
  ValidationError: rule("INVALID_ARGUMENT", 422),
  SerializationError: rule("INVALID_ARGUMENT", 422),
  AlreadyExists: rule("ALREADY_EXISTS", 409),
  RevisionConflict: rule("ABORTED", 409),
  IdempotencyConflict: rule("ABORTED", 409),
  RateLimitExceeded: rule("RESOURCE_EXHAUSTED", 429, true),
  ResourceExhausted: rule("RESOURCE_EXHAUSTED", 429, true),
  TimeoutError: rule("DEADLINE_EXCEEDED", 504, true),
  Cancelled: rule("CANCELLED", 499),
  MessageTooLarge: rule("RESOURCE_EXHAUSTED", 413),
  WorkerUnavailable: rule("UNAVAILABLE", 503, true),
  PermissionDenied: rule("PERMISSION_DENIED", 403),
  Unauthenticated: rule("UNAUTHENTICATED", 401),
  Unimplemented: rule("UNIMPLEMENTED", 501),
  InternalError: rule("INTERNAL", 500),
};

/** For exceptions that a tool raised. */
const TOOL_RAISED = rule("UNKNOWN", 500);

/** Returns the rule for an error type; a tool's own exception is UNKNOWN, whatever its name. */
export function errorRule(type: string, origin: string = "bridge"): ErrorRule {
  if (origin === "tool" || !Object.hasOwn(ERROR_TABLE, type)) return TOOL_RAISED;
  return ERROR_TABLE[type]!;
}

/** What an error says besides its message. */
export interface ErrorFacts {
  /** Name in the error table, or the class name of a tool's exception. */
  type?: string;
  /** Further facts, by name. */
  details?: Readonly<Record<string, string>>;
  /** Whether the same call may succeed later; default: as the table says. */
  retryable?: boolean;
  /** Stack trace from the process that raised the error, if it sends one. */
  remoteStack?: string;
  cause?: unknown;
}

/**
 * Base class of all errors of the bridge.
 *
 * @example
 * ```ts
 * try {
 *   await session.call("divide", { a: 1, b: 0 });
 * } catch (error) {
 *   if (error instanceof ToolBridgeError && error.retryable) return await again();
 *   throw error;
 * }
 * ```
 */
export class ToolBridgeError extends Error {
  /** Name in the error table, or the class name of a tool's exception; the same in every language. */
  readonly type: string;
  /** Further facts, by name. */
  readonly details: Readonly<Record<string, string>>;
  /** Whether the same call may succeed later. */
  readonly retryable: boolean;
  /** "tool" if a tool raised it, else "bridge". */
  readonly origin: ErrorOrigin;
  /** Stack trace from the process that raised the error; empty if it sends none. */
  readonly remoteStack: string;

  constructor(message: string, facts: ErrorFacts = {}) {
    super(message, facts.cause === undefined ? undefined : { cause: facts.cause });
    this.name = new.target.name;
    this.type = facts.type ?? new.target.defaultType;
    this.details = facts.details ?? {};
    this.origin = this.details.origin === "tool" ? "tool" : "bridge";
    this.retryable = facts.retryable ?? errorRule(this.type, this.origin).retryable;
    this.remoteStack = facts.remoteStack ?? "";
  }

  /** The type of an error of this class that names no other. */
  static get defaultType(): string {
    return "InternalError";
  }

  /** Milliseconds to wait before the next try, if the answer says so. */
  get retryAfterMs(): number | undefined {
    const seconds = Number.parseFloat(this.details.retry_after ?? "");
    return seconds >= 0 && Number.isFinite(seconds) ? seconds * 1000 : undefined;
  }
}

/** A tool call was answered with an error: the tool raised it, or the bridge refused the call. */
export class ToolExecutionError extends ToolBridgeError {
  constructor(
    /** The tool that was called. */
    readonly tool: string,
    message: string,
    facts: ErrorFacts = {},
  ) {
    super(message, facts);
  }
}

/** The hub answered that a tool call timed out. */
export class ToolTimeoutError extends ToolExecutionError {}

/** A call was not answered: the hub was not reached, the connection was lost, or the answer took too long. */
export class ToolCommunicationError extends ToolBridgeError {
  constructor(
    /** The tool, or the method if the call was not a tool call. */
    readonly target: string,
    /** Name of the gRPC status code. */
    readonly code: string,
    /** What the transport said. */
    readonly reason: string,
    facts: ErrorFacts = {},
  ) {
    super(`${target}: ${code}: ${reason}`, {
      retryable: code === "UNAVAILABLE" || code === "DEADLINE_EXCEEDED",
      ...facts,
    });
  }

  static override get defaultType(): string {
    return "ToolCommunicationError";
  }
}

/** The answer breaks the protocol, or the API was used out of order. */
export class ProtocolError extends ToolBridgeError {
  static override get defaultType(): string {
    return "ProtocolError";
  }
}

/** There is no such tool, variable or agent. */
export class NotFoundError extends ToolBridgeError {
  static override get defaultType(): string {
    return "ToolNotFound";
  }
}

/** The hub has no session with this id; it never existed, or ended long ago. */
export class SessionNotFoundError extends NotFoundError {
  static override get defaultType(): string {
    return "SessionNotFound";
  }
}

/** The session has ended: it was removed, or idle for too long. */
export class SessionExpiredError extends NotFoundError {
  static override get defaultType(): string {
    return "SessionExpired";
  }
}

/** The name is taken. */
export class AlreadyExistsError extends ToolBridgeError {
  static override get defaultType(): string {
    return "AlreadyExists";
  }
}

/** A request or its arguments are not valid; `details` says why, by name. */
export class ValidationError extends ToolBridgeError {
  static override get defaultType(): string {
    return "ValidationError";
  }
}

/** A value cannot be represented on the wire, or bytes from the wire are not a valid value. */
export class SerializationError extends ToolBridgeError {
  static override get defaultType(): string {
    return "SerializationError";
  }
}

/** The variable has another revision, or the idempotency key was used with other arguments. */
export class ConflictError extends ToolBridgeError {
  static override get defaultType(): string {
    return "RevisionConflict";
  }
}

/** A limit is reached; `retryAfterMs` says when to try again, if that is known. */
export class ResourceExhaustedError extends ToolBridgeError {
  static override get defaultType(): string {
    return "ResourceExhausted";
  }
}

/** A message is over the limit. */
export class MessageTooLargeError extends ResourceExhaustedError {
  static override get defaultType(): string {
    return "MessageTooLarge";
  }

  /** Returns the error for something that has `size` bytes and may have `limit`. */
  static of(what: string, size: number, limit: number): MessageTooLargeError {
    return new MessageTooLargeError(
      `message too large: ${what} takes ${withCommas(size)} bytes, the limit is ${withCommas(limit)}; ` +
        "stream it in parts, or raise the limit of messages at both ends",
      { details: { size: String(size), limit: String(limit) } },
    );
  }
}

/** The call timed out. */
export class DeadlineExceededError extends ToolBridgeError {
  static override get defaultType(): string {
    return "TimeoutError";
  }
}

/** The call was cancelled: by its caller, with its session, or by the hub's shutdown. */
export class CallCancelledError extends ToolBridgeError {
  static override get defaultType(): string {
    return "Cancelled";
  }
}

/** There is currently no worker to run the call. */
export class UnavailableError extends ToolBridgeError {
  static override get defaultType(): string {
    return "WorkerUnavailable";
  }
}

/** The caller is not authenticated, or may not do this. */
export class AccessError extends ToolBridgeError {
  static override get defaultType(): string {
    return "PermissionDenied";
  }
}

/** The hub does not implement the method, or a tool asked a caller that cannot answer. */
export class UnimplementedError extends ToolBridgeError {
  static override get defaultType(): string {
    return "Unimplemented";
  }
}

/** A fault of the bridge. */
export class InternalError extends ToolBridgeError {}

/** Each class by its default type, and some by further types. */
const CLASS_OF = new Map<string, new (message: string, facts?: ErrorFacts) => ToolBridgeError>([
  ...[
    NotFoundError,
    SessionNotFoundError,
    SessionExpiredError,
    AlreadyExistsError,
    ValidationError,
    SerializationError,
    ConflictError,
    ResourceExhaustedError,
    MessageTooLargeError,
    DeadlineExceededError,
    CallCancelledError,
    UnavailableError,
    AccessError,
    UnimplementedError,
    ProtocolError,
    InternalError,
  ].map((kind) => [kind.defaultType, kind] as const),
  ["VariableNotFound", NotFoundError],
  ["AgentNotFound", NotFoundError],
  ["IdempotencyConflict", ConflictError],
  ["RateLimitExceeded", ResourceExhaustedError],
  ["Unauthenticated", AccessError],
]);

/**
 * Maps an error from the wire back to an error of this package.
 *
 * @param info - The error as it came.
 * @param tool - Name of the tool that was called; undefined for other calls.
 * @returns A ToolExecutionError if a tool was called, else an error of the class for this type.
 */
export function errorFromInfo(info: ErrorInfo, tool?: string): ToolBridgeError {
  if (!info.type)
    return new ProtocolError(`the answer to ${tool ?? "a call"} reports a failure, but has no error.type`);
  const facts: ErrorFacts = { type: info.type, details: { ...info.details }, remoteStack: info.stacktrace };
  // The types of the table have this flag even if a peer leaves it out, unless it says that this error has it not.
  if (info.retryable) facts.retryable = true;
  else if (info.details.retryable === "false") facts.retryable = false;
  if (tool !== undefined) {
    const timedOut = info.type === "TimeoutError" && info.details.origin !== "tool";
    return new (timedOut ? ToolTimeoutError : ToolExecutionError)(tool, info.message, facts);
  }
  return new (CLASS_OF.get(info.type) ?? ToolBridgeError)(info.message, facts);
}

/**
 * Maps an error to the wire; never throws, whatever was thrown.
 *
 * @param error - What was thrown.
 * @param raisedByTool - Whether a tool threw it. A tool's error keeps its class name, its message with its causes, and
 *   its stack; of any other error that is not the bridge's, nothing is sent but that there was one.
 */
export function errorInfo(error: unknown, { raisedByTool = false }: { raisedByTool?: boolean } = {}): ErrorInfo {
  try {
    return raisedByTool ? infoOfTool(error) : infoOfBridge(error);
  } catch {
    const origin = raisedByTool ? "tool" : "bridge";
    return infoOf("Error", "an error that cannot be read", { details: { origin } });
  }
}

function infoOfBridge(error: unknown): ErrorInfo {
  if (!(error instanceof ToolBridgeError)) {
    return infoOf("InternalError", "internal error of the worker", { details: { origin: "bridge" } });
  }
  const { type, message, details, remoteStack, retryable } = error;
  return infoOf(type, message, { details: { origin: "bridge", ...details }, stack: remoteStack, retryable });
}

function infoOfTool(error: unknown): ErrorInfo {
  if (!(error instanceof Error)) {
    return infoOf("Error", `the tool threw ${describe(error)}, which is no Error`, { details: { origin: "tool" } });
  }
  if (error instanceof ToolBridgeError) {
    // That a nested call may be retried does not mean that its caller may be.
    const details = { ...error.details, origin: "tool" };
    return infoOf(error.type, error.message, { details, stack: error.remoteStack || error.stack });
  }
  const retryable = (error as { retryable?: unknown }).retryable === true;
  const facts = { details: { origin: "tool" }, stack: error.stack, retryable };
  return infoOf(classNameOf(error), withCauses(error), facts);
}

function withCauses(error: Error): string {
  const lines = [error.message];
  let cause: unknown = error.cause;
  for (let count = 0; cause !== undefined && count < MAX_CAUSES; count++) {
    lines.push(
      cause instanceof Error ? `caused by ${classNameOf(cause)}: ${cause.message}` : `caused by ${describe(cause)}`,
    );
    cause = cause instanceof Error ? cause.cause : undefined;
  }
  if (error instanceof AggregateError) {
    for (const member of error.errors.slice(0, MAX_CAUSES)) lines.push(`- ${describe(member)}`);
  }
  return lines.join("\n");
}

interface InfoFacts {
  details: Record<string, string>;
  stack?: string | undefined;
  retryable?: boolean;
}

function infoOf(type: string, message: string, { details, stack = "", retryable = false }: InfoFacts): ErrorInfo {
  const entries = Object.entries(details).slice(0, MAX_DETAILS);
  return create(ErrorInfoSchema, {
    type: wireText(type, MAX_TYPE_CHARS),
    message: wireText(message, MAX_MESSAGE_CHARS),
    details: Object.fromEntries(entries.map(([name, text]) => [name, wireText(String(text), MAX_DETAIL_CHARS)])),
    stacktrace: wireText(stack, MAX_STACK_CHARS),
    timestamp: timestampNow(),
    retryable,
  });
}

/** Clips a text for the wire, which takes no lone surrogates. */
function wireText(text: string, limit: number): string {
  const clipped = text.length > limit ? `${text.slice(0, limit - 1)}…` : text;
  return clipped.toWellFormed();
}
