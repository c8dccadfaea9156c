/**
 * Client and worker of the gRPC tool bridge.
 *
 * @packageDocumentation
 */
export { Agent, type AgentOptions, type AgentStep, Agents, type RunOptions } from "./client/agents.js";
export type { AskAnswer, OnAsk, Question } from "./client/answering.js";
export type { BatchItem, BatchOptions, BatchResult, CallOptions } from "./client/calls.js";
export { Client, type ClientOptions, connect } from "./client/client.js";
export { Session, type SessionOptions, type ToolFunction } from "./client/session.js";
export {
  type SetOptions,
  type Variable,
  type VariableChange,
  Variables,
  type WatchOptions,
} from "./client/variables.js";
export {
  AccessError,
  AlreadyExistsError,
  CallCancelledError,
  ConflictError,
  DeadlineExceededError,
  ERROR_TABLE,
  type ErrorFacts,
  type ErrorOrigin,
  type ErrorRule,
  InternalError,
  MessageTooLargeError,
  NotFoundError,
  ProtocolError,
  ResourceExhaustedError,
  SerializationError,
  SessionExpiredError,
  SessionNotFoundError,
  ToolBridgeError,
  ToolCommunicationError,
  ToolExecutionError,
  ToolTimeoutError,
  UnavailableError,
  UnimplementedError,
  ValidationError,
} from "./errors.js";
export type {
  ArgumentSpec,
  LogRecord,
  MetricValue,
  Progress,
  SessionInfo,
  ToolSpec,
  VariableInfo,
  VariableMetadata,
} from "./gen/dspex_bridge_pb.js";
export type { Logger } from "./logger.js";
export type { ToolArguments } from "./toolmessages.js";
export type { ConnectionOptions } from "./transport/grpc.js";
export { DateTime, PlainDate, PlainTime, TimeDelta, type ZoneOptions } from "./values/datetimes.js";
export { type Codec, deserializeValue, type ReadOptions, registerCodec, serializeValue } from "./values/index.js";
export {
  ArrowTable,
  Complex,
  Decimal,
  Float,
  FrozenSet,
  type TableKind,
  Tensor,
  type TensorArray,
  Tuple,
  UUID,
} from "./values/types.js";
export type { AskResult } from "./worker/asking.js";
export { type LogLevel, ToolContext } from "./worker/context.js";
export type { Principal } from "./worker/principal.js";
export type { JsonSchema, StandardSchema, ToolSchema } from "./worker/schema.js";
export { type Tool, type ToolDefinition, type ToolLimits, tool } from "./worker/tool.js";
export { Worker, type WorkerOptions } from "./worker/worker.js";
