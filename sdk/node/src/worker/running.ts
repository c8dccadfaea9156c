/** Runs a tool for a call of the hub: from its arguments to its answer. */
import {
  CallCancelledError,
  DeadlineExceededError,
  SerializationError,
  type ToolBridgeError,
  ValidationError,
} from "../errors.js";
import { readAny } from "../values/index.js";
import { setOwn } from "../values/json.js";
import type { Reader } from "../wire.js";
import { type ContextSetup, ToolContext } from "./context.js";
import { problemsOf, type StandardResult } from "./schema.js";
import type { Tool } from "./tool.js";

const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** What a running call is made of. */
export interface RunningSetup extends ContextSetup {
  tool: Tool;
  /** Milliseconds of the whole call. */
  timeoutMs: number;
  /** Called when the call ends before its tool: with its error, or undefined if the caller wants no answer. */
  onEnd: (error: ToolBridgeError | undefined) => void;
}

/** One running call: its arguments, its context, its deadline and its cancellation. */
export class RunningCall {
  readonly context: ToolContext;
  /** Whether the caller was answered, or wants no answer. */
  over = false;
  readonly #setup: RunningSetup;
  #timer: NodeJS.Timeout | undefined;

  constructor(setup: RunningSetup) {
    this.#setup = setup;
    this.context = new ToolContext(setup);
    setup.call.onCancel = (reason) => this.#end(new CallCancelledError(reason || "the call was cancelled"), undefined);
  }

  /** Ends the call at its deadline; only what is not over after its first step needs that. */
  limit(): void {
    const { deadline } = this.#setup;
    const left = deadline - performance.now();
    if (this.over || left > LONGEST_TIMER_MS) return;
    this.#timer = setTimeout(() => this.cancel(this.#timeoutError()), left);
  }

  /** Ends the call with an error. */
  cancel(reason: ToolBridgeError): void {
    this.#end(reason, reason);
  }

  /** Notes that the call is over. */
  finish(): void {
    this.over = true;
    if (this.#timer) clearTimeout(this.#timer);
  }

  #end(reason: ToolBridgeError, answer: ToolBridgeError | undefined): void {
    if (this.over) return;
    this.finish();
    this.context.abort(reason);
    this.#setup.onEnd(answer);
  }

  /**
   * Starts the tool with its arguments.
   *
   * @returns What it returned, or a promise of that if the arguments are checked asynchronously.
   * @throws ValidationError or SerializationError if the arguments are not valid; whatever the tool throws, as a
   *   ToolFailure.
   */
  start(): unknown {
    const checked = this.#setup.tool.check(this.#arguments());
    return isThenable(checked) ? checked.then((result) => this.#runChecked(result)) : this.#runChecked(checked);
  }

  #runChecked(result: StandardResult<unknown>): unknown {
    if (!result.issues) return this.#run(result.value);
    const details = problemsOf(result.issues);
    const text = Object.entries(details)
      .map(([name, problem]) => `${name}: ${problem}`)
      .join("; ");
    throw new ValidationError(`${this.#setup.tool.name}: ${text}`, { details });
  }

  #run(args: unknown): unknown {
    try {
      const result = this.#setup.tool.run(args as never, this.context);
      if (!isThenable(result)) return result;
      return Promise.resolve(result).then(undefined, (error: unknown) => {
        throw new ToolFailure(error);
      });
    } catch (error) {
      throw new ToolFailure(error);
    }
  }

  #arguments(): Record<string, unknown> {
    const { args, kwargs } = this.#setup.request;
    const { name: tool, argumentNames } = this.#setup.tool;
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

  #read(name: string, value: Reader): unknown {
    try {
      return readAny(value, this.#setup.exact);
    } catch (error) {
      throw new SerializationError(`${this.#setup.tool.name}: argument ${name}: ${(error as Error).message}`);
    }
  }

  #timeoutError(): DeadlineExceededError {
    return new DeadlineExceededError(
      `${this.#setup.tool.name} did not end within its deadline of ${this.#setup.timeoutMs / 1000} s; it had begun, and may have ` +
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
