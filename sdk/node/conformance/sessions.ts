/** The actions at a real hub: one client with one session, and one worker. */
import {
  type CallOptions,
  type Client,
  connect,
  ProtocolError,
  type Session,
  type ToolArguments,
  ToolBridgeError,
  ToolCommunicationError,
  tool,
  type VariableChange,
  Worker,
} from "../src/index.js";
import { describeValue, type Meaning, realize } from "./meanings.js";

/** What a request of these actions has. */
export interface SessionRequest {
  address: string;
  session_id: string;
  token?: string;
  tool: string;
  args?: Meaning[];
  kwargs?: Record<string, Meaning>;
  timeout_ms?: number;
  call: string;
  take?: number;
  items: SessionRequest[];
  name: string;
  names: string[];
  prefix: string;
  meaning: Meaning;
  expected_revision?: number;
  signature: string;
  input: Record<string, never>;
  worker_id: string;
  capacity: number;
}

/** An error as the runner reads it. */
export function errorOf(error: unknown): Record<string, unknown> {
  if (error instanceof ToolCommunicationError) return { type: error.type, status: error.code, message: error.reason };
  if (error instanceof ToolBridgeError) return { type: error.type, message: error.message, origin: error.origin };
  if (error instanceof Error && error.name === "AbortError") return { type: "Cancelled", message: error.message };
  return { type: "ProtocolError", message: String(error) };
}

interface Started {
  outcome: Promise<unknown>;
  controller: AbortController;
}

/** The client of the peer and its worker. */
export class Sessions {
  #client: Client | undefined;
  #session: Session | undefined;
  #worker: Worker | undefined;
  #watch: AsyncGenerator<VariableChange, void, undefined> | undefined;
  readonly #started = new Map<string, Started>();

  /** The actions by name. */
  readonly actions: Readonly<Record<string, (request: SessionRequest) => Promise<unknown>>> = {
    connect: (request) => this.#connect(request),
    connect_with_token: (request) => this.#connect(request),
    call: async (request) => ({ meaning: await this.#call(request) }),
    start: async (request) => this.#start(request),
    cancel: async ({ call }) => this.#started.get(call)?.controller.abort(),
    wait: async ({ call }) => ({ meaning: await this.#started.get(call)!.outcome }),
    stream: (request) => this.#stream(request),
    call_with_events: (request) => this.#callWithEvents(request),
    batch: (request) => this.#batch(request),
    set_variable: (request) => this.#setVariable(request),
    get_variable: async ({ name }) => ({ meaning: describeValue(await this.#open.variables.get(name)) }),
    delete_variable: ({ name }) => this.#open.variables.delete(name),
    list_variables: async ({ prefix }) => ({
      names: (await this.#open.variables.list({ prefix })).map(({ name }) => name),
    }),
    watch: async ({ names }) => {
      this.#watch = this.#open.variables.watch(names);
    },
    next_update: () => this.#nextUpdate(),
    run_agent: (request) => this.#runAgent(request),
    close: () => this.#close(),
    serve: (request) => this.#serve(request),
    stop_serving: async () => {
      await this.#worker!.drain();
    },
  };

  get #open(): Session {
    if (!this.#session) throw new ProtocolError("the peer is not connected");
    return this.#session;
  }

  async #connect({ address, session_id, token }: SessionRequest): Promise<unknown> {
    await this.#close();
    this.#client = await connect(address, { exact: true, ...(token === undefined ? {} : { token }) });
    this.#session = await this.#client.session(session_id);
    return { session_id: this.#session.id, tools: (await this.#session.tools()).map(({ name }) => name) };
  }

  async #call(request: SessionRequest, options: CallOptions = {}): Promise<Meaning> {
    const timeout = request.timeout_ms ? { timeoutMs: request.timeout_ms } : {};
    return describeValue(await this.#open.call(request.tool, argumentsOf(request), { ...timeout, ...options }));
  }

  #start(request: SessionRequest): void {
    const controller = new AbortController();
    const outcome = this.#call(request, { signal: controller.signal });
    outcome.catch(() => undefined);
    this.#started.set(request.call, { outcome, controller });
  }

  async #stream(request: SessionRequest): Promise<unknown> {
    const items: Meaning[] = [];
    for await (const value of this.#open.stream(request.tool, argumentsOf(request))) {
      items.push(describeValue(value));
      if (items.length === request.take) break;
    }
    return { items };
  }

  async #callWithEvents(request: SessionRequest): Promise<unknown> {
    const progress: unknown[] = [];
    const logs: unknown[] = [];
    const meaning = await this.#call(request, {
      onProgress: ({ current, total, message }) => progress.push({ current, total, message }),
      onLog: ({ level, message, fields }) => logs.push({ level, message, fields }),
    });
    return { meaning, progress, logs };
  }

  async #batch({ items }: SessionRequest): Promise<unknown> {
    const results = await this.#open.batch(items.map((item) => ({ tool: item.tool, args: argumentsOf(item) })));
    return {
      items: results.map((result) =>
        result.status === "fulfilled" ? { meaning: describeValue(result.value) } : { error: errorOf(result.reason) },
      ),
    };
  }

  async #setVariable({ name, meaning, expected_revision: expectedRevision }: SessionRequest): Promise<unknown> {
    const options = expectedRevision === undefined ? {} : { expectedRevision };
    return { revision: Number(await this.#open.variables.set(name, realize(meaning), options)) };
  }

  async #nextUpdate(): Promise<unknown> {
    const { value, done } = await this.#watch!.next();
    if (done) throw new ProtocolError("the watch has ended");
    return { name: value.name, operation: value.operation, meaning: describeValue(value.value) };
  }

  async #runAgent({ signature, input }: SessionRequest): Promise<unknown> {
    const agent = await this.#open.agents.create(signature);
    const chunks: string[] = [];
    let answer: unknown;
    for await (const step of agent.run(input)) {
      chunks.push(step.type);
      if (step.type === "result") answer = step.finalAnswer;
    }
    return { chunks, answer };
  }

  async #close(): Promise<void> {
    await this.#watch?.return();
    await this.#client?.[Symbol.asyncDispose]();
    this.#watch = this.#client = this.#session = undefined;
  }

  async #serve({ address, worker_id: workerId, capacity }: SessionRequest): Promise<void> {
    const logger = { warn: () => undefined, info: () => undefined };
    this.#worker = await new Worker({ address, workerId, capacity, tools: TOOLS, exact: true, logger }).start();
  }
}

function argumentsOf({ args = [], kwargs = {} }: SessionRequest): ToolArguments {
  const named = Object.entries(kwargs);
  if (named.length === 0) return args.map(realize);
  return Object.fromEntries(named.map(([name, meaning]) => [name, realize(meaning)]));
}

function inputOf(...names: string[]) {
  return { type: "object", properties: Object.fromEntries(names.map((name) => [name, {}])), required: names };
}

const TOOLS = [
  tool({ name: "peer_echo", input: inputOf("value"), run: ({ value }) => value }),
  tool({
    name: "peer_fail",
    input: inputOf("message"),
    run: ({ message }) => {
      throw new Error(String(message));
    },
  }),
  tool({
    name: "peer_count",
    input: inputOf("to"),
    async *run({ to }) {
      for (let number = 0; number < (to as number); number++) yield number;
    },
  }),
  tool({ name: "peer_wait", run: () => new Promise(() => undefined) }),
  tool({ name: "peer_nested", input: inputOf("value"), run: ({ value }, context) => context.call("echo", { value }) }),
  tool({
    name: "peer_report",
    run: (_, context) => {
      context.progress(1, { total: 2, message: "half" });
      context.log("halfway", { level: "warning" });
      return "done";
    },
  }),
  tool({
    name: "peer_variable",
    input: inputOf("name"),
    run: ({ name }, { variables }) => variables.get(String(name)),
  }),
];
