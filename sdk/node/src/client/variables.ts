/** The variables of a session, shared with every peer of the session. */
import type { MessageInitShape } from "@bufbuild/protobuf";
import { timestampDate } from "@bufbuild/protobuf/wkt";
import { NotFoundError, ProtocolError, UnavailableError, ValidationError } from "../errors.js";
import {
  SnakepitBridge,
  type VariableInfo,
  type VariableMetadata,
  type VariableResponse,
  type VariableUpdate,
  type WatchVariablesRequestSchema,
} from "../gen/dspex_bridge_pb.js";
import { isLost } from "../link/status.js";
import { describe, isName } from "../texts.js";
import { deserializeValue, serializeValue } from "../values/index.js";
import { CALL_TIMEOUT_MS, type Caller, decode, type MessageStream } from "./caller.js";
import { leavable } from "./leaving.js";
import { type Resumable, resumed } from "./resume.js";

const methods = SnakepitBridge.method;

interface Abortable {
  /** Cancels the request, which then rejects with the signal's reason. */
  signal?: AbortSignal;
}

/** A variable's value and what the hub keeps with it. */
export interface Variable<T = unknown> {
  value: T;
  /** Of the last change; revisions rise across the whole session. */
  revision: bigint;
  metadata: VariableMetadata;
}

/** How a variable is set. */
export interface SetOptions extends Abortable {
  /** Set it only if this is its revision; `0n`: only if it does not exist. */
  expectedRevision?: bigint | number;
  /** Whether to create the variable if it does not exist. Default: true. */
  createIfMissing?: boolean;
  /** Chosen by the writer; default: the type of the value. */
  type?: string;
  createdBy?: string;
  /** Replace the old tags as a whole. */
  tags?: Record<string, string>;
  /** Hides the value in listings and logs, until the variable is deleted. */
  secret?: boolean;
}

/** A change of a variable. */
export interface VariableChange<T = unknown> {
  /** The variable's name; empty for a reset. */
  name: string;
  /**
   * "set" (a new variable, or a current value when the watch starts), "update", "delete", or "reset": discard all known
   * values; the current ones follow as "set".
   */
  operation: "set" | "update" | "delete" | "reset";
  /** The new value; null for "delete" and "reset". */
  value: T | null;
  revision: bigint;
  /** Identifies one run of the hub; revisions of different epochs cannot be compared. */
  epoch: string;
  timestamp: Date;
}

/** How variables are watched. */
export interface WatchOptions extends Abortable {
  /** Start with the current values, as "set". Default: true. */
  includeInitial?: boolean;
}

/** The variables of a session; `session.variables`, or those of a tool's context. */
export class Variables {
  readonly #caller: Caller;

  /** @internal */
  constructor(caller: Caller) {
    this.#caller = caller;
  }

  /**
   * Returns the value of a variable.
   *
   * @throws NotFoundError if there is no such variable.
   */
  async get<T = unknown>(name: string, options: Abortable = {}): Promise<T> {
    const response = await this.#get(name, false, options);
    return this.#value<T>(name, response);
  }

  /** Returns a variable's value with its revision and metadata; throws as `get` does. */
  async getWithMetadata<T = unknown>(name: string, options: Abortable = {}): Promise<Variable<T>> {
    const response = await this.#get(name, true, options);
    const value = this.#value<T>(name, response);
    if (!response.metadata) throw new ProtocolError(`variable ${describe(name)} came without its metadata`);
    return { value, revision: response.metadata.revision, metadata: response.metadata };
  }

  /**
   * Sets a variable and returns its new revision.
   *
   * @throws ConflictError if its revision is not `expectedRevision`; NotFoundError if it does not exist and
   *   `createIfMissing` is false; SerializationError if the value cannot be sent.
   *
   * @example
   * ```ts
   * const { value, revision } = await session.variables.getWithMetadata<number>("count");
   * await session.variables.set("count", value + 1, { expectedRevision: revision });
   * ```
   */
  async set(name: string, value: unknown, options: SetOptions = {}): Promise<bigint> {
    const {
      signal,
      createIfMissing = true,
      expectedRevision,
      type = "",
      createdBy = "",
      tags = {},
      secret = false,
    } = options;
    checkName(name);
    const request = {
      sessionId: this.#caller.sessionId,
      variableName: name,
      value: serializeValue(value),
      metadata: { type, createdBy, tags, secret },
      createIfMissing,
      expectedRevision: revisionOf(expectedRevision),
    };
    const { message } = await this.#caller.method(methods.setSessionVariable, request, { signal });
    if (!/^\d+$/.test(message)) throw new ProtocolError(`the answer to SetSessionVariable has no revision: ${message}`);
    return BigInt(message);
  }

  /**
   * Deletes a variable.
   *
   * @throws NotFoundError if there is no such variable; ConflictError if its revision is not `expectedRevision`.
   */
  async delete(name: string, options: Abortable & { expectedRevision?: bigint | number } = {}): Promise<void> {
    checkName(name);
    const request = {
      sessionId: this.#caller.sessionId,
      variableName: name,
      expectedRevision: revisionOf(options.expectedRevision),
    };
    await this.#caller.method(methods.deleteSessionVariable, request, { signal: options.signal });
  }

  /**
   * Lists variables by name.
   *
   * @param options - `prefix` of the names; `tags` that all of them have, each "key" or "key=value"; `limit` of their
   *   number.
   */
  async list(options: Abortable & { prefix?: string; tags?: string[]; limit?: number } = {}): Promise<VariableInfo[]> {
    const { signal, prefix = "", tags = [], limit = 0 } = options;
    const request = { sessionId: this.#caller.sessionId, prefix, tags, limit };
    return (await this.#caller.method(methods.listSessionVariables, request, { signal })).variables;
  }

  /**
   * Iterates over changes of variables, in the order of their revisions, until the session ends.
   *
   * It resumes after a reconnect without missing or repeating a change. If the hub cannot send what was missed, a
   * "reset" and the current values follow instead.
   *
   * @param names - The variables to watch; empty: all.
   * @throws ValidationError if `names` is no array of names.
   *
   * @example
   * ```ts
   * for await (const change of session.variables.watch(["status"])) {
   *   if (change.value === "done") break;
   * }
   * ```
   */
  watch<T = unknown>(
    names: readonly string[] = [],
    options: WatchOptions = {},
  ): AsyncGenerator<VariableChange<T>, void, undefined> {
    // A text can be iterated over, too: it would be taken for the names of its letters.
    if (!Array.isArray(names)) throw new ValidationError(`names must be an array, not ${describe(names)}`);
    names.forEach(checkName);
    return leavable(
      (signal) => resumed(new Watch<T>(this.#caller, names, { ...options, signal }), signal),
      options.signal,
    );
  }

  #get(name: string, includeMetadata: boolean, { signal }: Abortable): Promise<VariableResponse> {
    checkName(name);
    const request = { sessionId: this.#caller.sessionId, variableName: name, includeMetadata };
    return this.#caller.method(methods.getSessionVariable, request, { signal });
  }

  #value<T>(name: string, { exists, value }: VariableResponse): T {
    if (!exists) {
      const text = `session ${describe(this.#caller.sessionId)} has no variable ${describe(name)}`;
      throw new NotFoundError(text, { type: "VariableNotFound" });
    }
    if (!value) throw new ProtocolError(`variable ${describe(name)} came without its value`);
    return deserializeValue(value, { exact: this.#caller.exact }) as T;
  }
}

/** A watch, and where it resumes. */
class Watch<T> implements Resumable<VariableChange<T>> {
  /** Where to resume; 0: from the current values, none of which has arrived. */
  #revision = 0n;
  #epoch = "";
  /** The last revision that was received before the connection was lost. */
  #seen = 0n;
  #hasBegun = false;

  constructor(
    private readonly caller: Caller,
    private readonly names: readonly string[],
    private readonly options: WatchOptions,
  ) {}

  async open(again: boolean): Promise<MessageStream> {
    const { includeInitial = true, signal } = this.options;
    if (!again && !includeInitial) await this.#findStart();
    if (again) await this.#reachHub();
    this.#hasBegun = true;
    this.#seen = this.#revision;
    const request: MessageInitShape<typeof WatchVariablesRequestSchema> = {
      sessionId: this.caller.sessionId,
      variableNames: [...this.names],
      includeInitial: this.#revision === 0n && (includeInitial || again),
      fromRevision: this.#revision,
      epoch: this.#epoch,
    };
    return this.caller.open(methods.watchSessionVariables, request, { signal });
  }

  take(message: Buffer): VariableChange<T> | undefined {
    const update = decode(methods.watchSessionVariables, message);
    if (update.operation === "reset") {
      // If the connection is lost before the first current value, all of them must be sent again.
      this.#revision = this.#seen = 0n;
    } else if (this.#seen > 0n && update.revision <= this.#seen && update.epoch === this.#epoch) {
      return undefined;
    } else {
      this.#revision = update.revision;
      this.#epoch = update.epoch;
    }
    return changeOf<T>(update, this.caller.exact);
  }

  resumesAfter(error: unknown): error is UnavailableError {
    return this.#hasBegun && (isLost(error) || error instanceof UnavailableError);
  }

  hasProgressed(ms: number): boolean {
    return this.#revision !== this.#seen || ms > CALL_TIMEOUT_MS;
  }

  /** Finds out where to resume if the connection is lost before the first change. */
  async #findStart(): Promise<void> {
    const { signal } = this.options;
    // Read before the revision: an epoch that is too old causes a reset, one that is too new a gap.
    const { metrics } = await this.caller.method(
      SnakepitBridge.method.getMetrics,
      { metricNames: ["hub.epoch"] },
      { signal },
    );
    const epoch = metrics["hub.epoch"]?.value;
    if (epoch?.case === "stringValue") this.#epoch = epoch.value;
    const request = { sessionId: this.caller.sessionId };
    const { variables } = await this.caller.method(methods.listSessionVariables, request, { signal });
    for (const { metadata } of variables) {
      if (metadata && metadata.revision > this.#revision) this.#revision = metadata.revision;
    }
  }

  /** Waits until the hub is reachable, with a call that waits for the connection. */
  async #reachHub(): Promise<void> {
    await this.caller.method(
      methods.getSessionInfo,
      { sessionId: this.caller.sessionId },
      { signal: this.options.signal },
    );
  }
}

function changeOf<T>(update: VariableUpdate, exact: boolean): VariableChange<T> {
  const { name, value, revision, epoch, timestamp } = update;
  const operation = update.operation as VariableChange["operation"];
  return {
    name,
    operation,
    value: value ? (deserializeValue(value, { exact }) as T) : null,
    revision,
    epoch,
    timestamp: timestamp ? timestampDate(timestamp) : new Date(0),
  };
}

function checkName(name: unknown): void {
  if (!isName(name)) {
    throw new ValidationError(`the name of a variable must be a text of 1 to 256 characters, not ${describe(name)}`);
  }
}

function revisionOf(revision: bigint | number | undefined): bigint | undefined {
  if (revision === undefined) return undefined;
  if ((typeof revision !== "bigint" && !Number.isSafeInteger(revision)) || revision < 0) {
    throw new ValidationError(`expectedRevision must be a whole number from 0, not ${describe(revision)}`);
  }
  return BigInt(revision);
}
