/** Agents and their runs: steps as they happen, also across a lost connection. */
import { randomUUID } from "node:crypto";
import type { JsonObject } from "@bufbuild/protobuf";
import { errorFromInfo, NotFoundError, ProtocolError, type ToolBridgeError, ValidationError } from "../errors.js";
import { type AgentExecutionChunk, SnakepitBridge } from "../gen/dspex_bridge_pb.js";
import { isLost } from "../link/status.js";
import { deserializeValue, serializeValue } from "../values/index.js";
import { type Caller, decode, type MessageStream } from "./caller.js";
import { leavable } from "./leaving.js";
import { type Resumable, resumed } from "./resume.js";

const methods = SnakepitBridge.method;

/** What an agent is made of. */
export interface AgentOptions {
  /** Names of the tools that it may call; default: every tool that the session sees. */
  tools?: readonly string[];
  /** Steps before the agent must answer. Default: 5. */
  maxIters?: number;
  /** Settings of its model, such as `model` and `temperature`; never an API key. */
  llmConfig?: Readonly<Record<string, unknown>>;
  /** Whether the result repeats the steps. */
  returnIntermediateSteps?: boolean;
  /** Whether the agent runtime logs each step. */
  verbose?: boolean;
  signal?: AbortSignal;
}

/** How a run is made. */
export interface RunOptions {
  /** Milliseconds of the whole run; default: the hub's. */
  timeoutMs?: number;
  /** Ends the reading, and with it a run that was started here. */
  signal?: AbortSignal;
  /** Every tool of the run finds these in its context, as texts. */
  context?: Readonly<Record<string, unknown>>;
  /** The run's id, for others to attach to; default: one is generated. */
  runId?: string;
  /** Only the result. */
  onlyResult?: boolean;
}

/** One step of a run. */
export type AgentStep =
  | (StepFacts & { type: "thought"; text: string; step: number })
  | (StepFacts & { type: "action"; tool: string; input: JsonObject; step: number })
  | (StepFacts & {
      type: "observation";
      /** What the tool returned, as the model sees it. */
      output: unknown;
      /** The tool's error; the run continues. */
      error: ToolBridgeError | null;
      step: number;
    })
  | (StepFacts & {
      type: "result";
      /** The signature's outputs by name. */
      finalAnswer: JsonObject;
      totalSteps: number;
      steps: { thought: string; action: string; observation: string }[];
      /** "finished", or the limit that was reached. */
      stopReason: "finished" | "max_iters" | "time" | "tokens";
    });

interface StepFacts {
  /** From 0, without gaps. */
  sequence: number;
  runId: string;
}

/** The agents of a session; `session.agents`. */
export class Agents {
  readonly #caller: Caller;

  /** @internal */
  constructor(caller: Caller) {
    this.#caller = caller;
  }

  /**
   * Creates a ReAct agent; the hub keeps it for the time of the session.
   *
   * @param signature - Its inputs and outputs, such as "question -> answer" or "text, limit: int -> summary".
   * @throws ValidationError if the signature or a setting is not valid; NotFoundError if there is no such tool;
   *   UnavailableError if no agent runtime is connected to the hub.
   *
   * @example
   * ```ts
   * const agent = await session.agents.create("question -> answer", { tools: ["calculate"] });
   * for await (const step of agent.run({ question: "What is 2+2?" })) {
   *   if (step.type === "result") console.log(step.finalAnswer);
   * }
   * ```
   */
  async create(signature: string, options: AgentOptions = {}): Promise<Agent> {
    const {
      tools = [],
      maxIters = 5,
      llmConfig = {},
      returnIntermediateSteps = false,
      verbose = false,
      signal,
    } = options;
    if (options.tools?.length === 0) {
      throw new ValidationError("tools is empty; leave it out to give the agent every tool of the session");
    }
    const settings = Object.entries(llmConfig).map(([name, value]) => [name, serializeValue(value)] as const);
    const request = {
      sessionId: this.#caller.sessionId,
      signature,
      toolNames: [...tools],
      maxIters,
      config: { returnIntermediateSteps, verbose, llmConfig: Object.fromEntries(settings) },
    };
    const { agentId } = await this.#caller.method(methods.createReActAgent, request, { signal });
    return new Agent(this.#caller, agentId);
  }

  /** Returns an agent that was created before, here or by another peer of the session. */
  get(agentId: string): Agent {
    return new Agent(this.#caller, agentId);
  }

  /**
   * Attaches to a run, and iterates over its steps.
   *
   * Leaving the loop only ends the reading: the run goes on.
   *
   * @param options - `fromSequence`: the first step to receive.
   * @throws NotFoundError if there is no such run.
   */
  attach(
    runId: string,
    { fromSequence = 0, signal }: { fromSequence?: number; signal?: AbortSignal } = {},
  ): AsyncGenerator<AgentStep, void, undefined> {
    const request = { runId, fromSequence, stream: true };
    return leavable((leaving) => resumed(new Run(this.#caller, request, leaving), leaving), signal);
  }

  /**
   * Cancels a run, with its model request and its tool.
   *
   * @throws NotFoundError if there is no such run.
   */
  async cancel(runId: string, { signal }: { signal?: AbortSignal } = {}): Promise<void> {
    await this.#caller.method(methods.cancelAgentRun, { sessionId: this.#caller.sessionId, runId }, { signal });
  }
}

/** An agent of a session. */
export class Agent {
  readonly #caller: Caller;

  /** @internal */
  constructor(
    caller: Caller,
    /** Its id, by which other peers of the session find it. */
    readonly id: string,
  ) {
    this.#caller = caller;
  }

  /**
   * Starts a run, and iterates over its steps; the last one is the result.
   *
   * If the connection is lost, it goes on over the next one without missing or repeating a step. Leaving the loop
   * cancels the run.
   *
   * @param input - The signature's inputs by name.
   * @throws ToolBridgeError if the run failed; NotFoundError if there is no such agent.
   */
  run(input: JsonObject, options: RunOptions = {}): AsyncGenerator<AgentStep, void, undefined> {
    return leavable((signal) => this.#run(input, options, signal), options.signal);
  }

  async *#run(input: JsonObject, options: RunOptions, signal: AbortSignal): AsyncGenerator<AgentStep, void, undefined> {
    const { timeoutMs = 0, context = {}, onlyResult = false } = options;
    // Generated here, so that a lost connection does not start a second run.
    const runId = options.runId ?? randomUUID().replaceAll("-", "");
    const entries = Object.entries(context).map(([name, value]) => [name, serializeValue(value)] as const);
    const request = {
      agentId: this.id,
      input,
      runId,
      timeoutMs,
      stream: !onlyResult,
      context: Object.fromEntries(entries),
    };
    const run = new Run(this.#caller, request, signal);
    try {
      yield* resumed(run, signal);
    } finally {
      if (!run.over) await this.#leave(runId);
    }
  }

  /** Cancels a run that is no longer read. */
  async #leave(runId: string): Promise<void> {
    try {
      await this.#caller.method(methods.cancelAgentRun, { sessionId: this.#caller.sessionId, runId });
    } catch (error) {
      // It has ended already, with its stream.
      if (!(error instanceof NotFoundError) && !isLost(error)) throw error;
    }
  }
}

interface RunRequest {
  runId: string;
  agentId?: string;
  input?: JsonObject;
  timeoutMs?: number;
  stream: boolean;
  fromSequence?: number;
  context?: Record<string, ReturnType<typeof serializeValue>>;
}

/** A run that is read, and where it resumes. */
class Run implements Resumable<AgentStep> {
  /** Whether the run has ended. */
  over = false;
  #next: number;
  /** Whether the hub has answered over the present connection. */
  #attached = false;

  constructor(
    private readonly caller: Caller,
    private readonly request: RunRequest,
    private readonly signal: AbortSignal | undefined,
  ) {
    this.#next = request.fromSequence ?? 0;
  }

  async open(again: boolean): Promise<MessageStream> {
    // A run that has begun has its deadline; attaching has the default timeout.
    const timeoutMs = again && this.#next > 0 ? 0 : this.request.timeoutMs;
    this.#attached = false;
    const request = { ...this.request, timeoutMs, fromSequence: this.#next, sessionId: this.caller.sessionId };
    return this.caller.open(methods.executeAgent, request, { signal: this.signal });
  }

  take(message: Buffer): AgentStep | undefined {
    const chunk = decode(methods.executeAgent, message);
    const { runId, stream } = this.request;
    if (stream && chunk.sequence > this.#next) {
      throw new ProtocolError(`the run ${runId} has a gap: chunk ${chunk.sequence} came where ${this.#next} was due`);
    }
    if (chunk.sequence < this.#next) return undefined;
    this.#next = chunk.sequence + 1;
    this.#attached = true;
    const { content } = chunk;
    this.over = content.case === "result" || content.case === "error";
    if (content.case === "error") throw errorFromInfo(content.value);
    return stepOf(chunk, this.caller.exact);
  }

  resumesAfter(error: unknown): error is ToolBridgeError {
    return isLost(error) && !this.over;
  }

  hasProgressed(): boolean {
    return this.#attached;
  }
}

function stepOf({ content, sequence, runId }: AgentExecutionChunk, exact: boolean): AgentStep {
  const facts = { sequence, runId };
  switch (content.case) {
    case "thought":
      return { ...facts, type: "thought", text: content.value.text, step: content.value.step };
    case "action": {
      const { toolName, toolInput = {}, step } = content.value;
      return { ...facts, type: "action", tool: toolName, input: toolInput, step };
    }
    case "observation": {
      const { toolOutput, error, step } = content.value;
      const output = toolOutput ? deserializeValue(toolOutput, { exact }) : null;
      return { ...facts, type: "observation", output, error: error ? errorFromInfo(error) : null, step };
    }
    case "result": {
      const { finalAnswer = {}, totalSteps, steps, stopReason } = content.value;
      return {
        ...facts,
        type: "result",
        finalAnswer,
        totalSteps,
        steps: steps.map(({ thought, action, observation }) => ({ thought, action, observation })),
        stopReason: stopReason as "finished",
      };
    }
    default:
      throw new ProtocolError(`chunk ${sequence} of the run ${runId} is empty`);
  }
}
