/** Runs a tool for a call of the hub: from its arguments to its answer. */
import {
  CallCancelledError,
  DeadlineExceededError,
  SerializationError,
  type ToolBridgeError,
  ValidationError,
} from "../errors.js";
import type { IncomingCall } from "../link/calls.js";
import type { LinkConnection } from "../link/connection.js";
import type { ToolRequest } from "../toolmessages.js";
import { readAny } from "../values/index.js";
import { setOwn } from "../values/json.js";
import { ToolContext, type ToolEvent } from "./context.js";
import { problemsOf, type StandardResult } from "./schema.js";
import type { Tool } from "./tool.js";

const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** What ends a call before its tool does. */
export interface Ending {
  /** The error of the bridge, or undefined if the caller no longer wants an answer. */
  onEnd(error: ToolBridgeError | undefined): void;
}

/** One running call: its arguments, its context, its deadline and its cancellation. */
export class RunningCall {
  readonly context: ToolContext;
  /** Whether the caller was answered, or wants no answer. */
  over = false;
  readonly #tool: Tool;
  readonly #request: ToolRequest;
  readonly #exact: boolean;
  readonly #timeoutMs: number;
  readonly #timer: NodeJS.Timeout | undefined;

  constructor(
    {
      tool,
      request,
      exact,
      emit,
    }: { tool: Tool; request: ToolRequest; exact: boolean; emit: ((event: ToolEvent) => void) | undefined },
    { call, connection, timeoutMs }: { call: IncomingCall; connection: LinkConnection; timeoutMs: number },
    ending: Ending,
  ) {
    this.#tool = tool;
    this.#request = request;
    this.#exact = exact;
    this.#timeoutMs = timeoutMs;
    this.context = new ToolContext({
      toolName: tool.name,
      sessionId: request.sessionId,
      callId: request.id,
      metadata: request.context,
      deadline: performance.now() + timeoutMs,
      call,
      connection,
      exact,
      emit,
    });
    const end = (reason: ToolBridgeError, answer: ToolBridgeError | undefined) => {
      if (this.over) return;
      this.finish();
      this.context.abort(reason);
      ending.onEnd(answer);
    };
    call.onCancel = (reason) => end(new CallCancelledError(reason || "the call was cancelled"), undefined);
    this.cancel = (reason) => end(reason, reason);
    if (timeoutMs < LONGEST_TIMER_MS) {
      this.#timer = setTimeout(() => {
        const error = this.#timeoutError();
        end(error, error);
      }, timeoutMs);
    }
  }

  /** Ends the call with an error. */
  readonly cancel: (reason: ToolBridgeError) => void;

  /** Notes that the call is over. */
  finish(): void {
    this.over = true;
    clearTimeout(this.#timer);
  }

  /**
   * Starts the tool with its arguments.
   *
   * @returns What it returned, or a promise of that if the arguments are checked asynchronously.
   * @throws ValidationError or SerializationError if the arguments are not valid; whatever the tool throws, as a
   *   ToolFailure.
   */
  start(): unknown {
    const checked = this.#tool.check(this.#arguments());
    return isThenable(checked) ? checked.then((result) => this.#runChecked(result)) : this.#runChecked(checked);
  }

  #runChecked(result: StandardResult<unknown>): unknown {
    if (!result.issues) return this.#run(result.value);
    const details = problemsOf(result.issues);
    const text = Object.entries(details)
      .map(([name, problem]) => `${name}: ${problem}`)
      .join("; ");
    throw new ValidationError(`${this.#tool.name}: ${text}`, { details });
  }

  #run(args: unknown): unknown {
    try {
      const result = this.#tool.run(args as never, this.context);
      if (!isThenable(result)) return result;
      return result.then(undefined, (error: unknown) => {
        throw new ToolFailure(error);
      });
    } catch (error) {
      throw new ToolFailure(error);
    }
  }

  #arguments(): Record<string, unknown> {
    const { args, kwargs } = this.#request;
    const { name: tool, argumentNames } = this.#tool;
    if (args.length > argumentNames.length) {
      throw new ValidationError(`${tool} takes ${argumentNames.length} arguments, but ${args.length} were given`);
    }
    const values: Record<string, unknown> = {};
    for (const [index, data] of args.entries()) {
      const name = argumentNames[index]!;
      if (kwargs.has(name)) throw new ValidationError(`${tool}: the argument ${name} was given twice`);
      setOwn(values, name, this.#read(name, data));
    }
    for (const [name, data] of kwargs) setOwn(values, name, this.#read(name, data));
    return values;
  }

  #read(name: string, data: Buffer): unknown {
    try {
      return readAny(data, this.#exact);
    } catch (error) {
      throw new SerializationError(`${this.#tool.name}: argument ${name}: ${(error as Error).message}`);
    }
  }

  #timeoutError(): DeadlineExceededError {
    return new DeadlineExceededError(
      `${this.#tool.name} did not end within its deadline of ${this.#timeoutMs / 1000} s; it had begun, and may have ` +
        "taken effect",
      { details: { started: "true" } },
    );
  }
}

/** Whether a tool has returned a promise. */
export function isThenable<T>(result: T | PromiseLike<T>): result is PromiseLike<T> {
  return typeof result === "object" && result !== null && "then" in result && typeof result.then === "function";
}

/** Wraps what a tool has thrown, so that it is not taken for an error of the bridge. */
export class ToolFailure {
  constructor(readonly error: unknown) {}
}
