/**
 * Maps an error of the bridge to the status that ends a call of a link, and back.
 *
 * If the peer ended a call, the call has an error of the bridge, by its type or by its status. If the link failed, it
 * has a ToolCommunicationError, whose code names a status: so the two cannot be confused.
 */
import { create } from "@bufbuild/protobuf";
import {
  CallCancelledError,
  DeadlineExceededError,
  errorFromInfo,
  errorInfo,
  errorRule,
  ProtocolError,
  ResourceExhaustedError,
  type ToolBridgeError,
  ToolCommunicationError,
  UnavailableError,
} from "../errors.js";
import { type LinkStatus, LinkStatusSchema } from "../gen/dspex_bridge_pb.js";

/** The status codes of gRPC, by number. */
export const CODES = [
  "OK",
  "CANCELLED",
  "UNKNOWN",
  "INVALID_ARGUMENT",
  "DEADLINE_EXCEEDED",
  "NOT_FOUND",
  "ALREADY_EXISTS",
  "PERMISSION_DENIED",
  "RESOURCE_EXHAUSTED",
  "FAILED_PRECONDITION",
  "ABORTED",
  "OUT_OF_RANGE",
  "UNIMPLEMENTED",
  "INTERNAL",
  "UNAVAILABLE",
  "DATA_LOSS",
  "UNAUTHENTICATED",
] as const;

/** Name of a gRPC status code. */
export type Code = (typeof CODES)[number];

export const OK = 0;
export const CANCELLED = 1;

/** The errors for statuses that a peer may send without an error. */
const ERROR_OF_CODE: Partial<Record<Code, new (message: string) => ToolBridgeError>> = {
  CANCELLED: CallCancelledError,
  DEADLINE_EXCEEDED: DeadlineExceededError,
  RESOURCE_EXHAUSTED: ResourceExhaustedError,
  UNAVAILABLE: UnavailableError,
};

/** Statuses of a dial that dialling again would not change. */
const PERMANENT: ReadonlySet<string> = new Set<Code>([
  "UNAUTHENTICATED",
  "PERMISSION_DENIED",
  "INVALID_ARGUMENT",
  "FAILED_PRECONDITION",
  "NOT_FOUND",
  "UNIMPLEMENTED",
]);

/** Returns the status for an error, which contains the whole error. */
export function statusOf(error: unknown): LinkStatus {
  const info = errorInfo(error);
  const { status } = errorRule(info.type, info.details.origin);
  return create(LinkStatusSchema, { code: CODES.indexOf(status as Code), message: info.message, error: info });
}

/** Returns the error for the status with which the peer ended a call. */
export function errorOfStatus(status: LinkStatus): ToolBridgeError {
  if (status.error?.type) return errorFromInfo(status.error);
  const code = CODES[status.code];
  const kind = code && ERROR_OF_CODE[code];
  if (kind) return new kind(status.message || "the peer gave no reason");
  return new ProtocolError(`the peer ended the call with status ${status.code}: ${status.message}`);
}

/** Returns the error for a call or a dial that failed because of the link. */
export function linkError(code: Code, text: string, target = "Link"): ToolCommunicationError {
  return new ToolCommunicationError(target, code, text);
}

/** Returns whether another dial may succeed: a hub may come back, but a wrong token stays wrong. */
export function isTransient(error: ToolBridgeError): boolean {
  const code = error instanceof ToolCommunicationError ? error.code : errorRule(error.type, error.origin).status;
  return !PERMANENT.has(code);
}

/** Returns whether the hub was not reached, or the connection was lost. */
export function isLost(error: unknown): boolean {
  return error instanceof ToolCommunicationError && error.code === "UNAVAILABLE";
}

/** Returns the text of an error without what names its call. */
export function reasonOf(error: ToolBridgeError): string {
  return error instanceof ToolCommunicationError ? error.reason : error.message;
}
