// The tools of the round trip in Node.js: `node tools.mjs HOST:PORT`.
import { connect, tool, Worker } from "../../sdk/node/dist/index.js";

const address = process.argv[2];
const client = await connect(address);

class KettleError extends Error {
  name = "KettleError";
}

const any = {};
const text = { type: "string" };
const integer = { type: "integer" };

function takes(properties) {
  return { type: "object", properties, required: Object.keys(properties), additionalProperties: false };
}

const tools = [
  tool({
    name: "calculate",
    description: "Calculates a sum.",
    input: takes({ expression: text }),
    run: ({ expression }) => expression.split("+").reduce((sum, part) => sum + Number.parseInt(part, 10), 0),
  }),
  tool({
    name: "node_set",
    input: takes({ name: text, value: any }),
    run: ({ name, value }, { variables }) => variables.set(name, value),
  }),
  tool({
    name: "node_watch",
    description: "Yields the values of a variable.",
    input: takes({ name: text }),
    async *run({ name }, { variables }) {
      for await (const change of variables.watch([name])) yield change.value;
    },
  }),
  tool({
    name: "node_sum_of_elixir",
    description: "Adds up what a tool of Elixir streams.",
    input: takes({ n: integer }),
    async run({ n }, context) {
      let sum = 0;
      for await (const number of context.stream("elixir_count", [n])) sum += Number(number);
      return sum;
    },
  }),
  tool({
    name: "node_fail",
    input: takes({ why: text }),
    run: ({ why }) => {
      throw new KettleError(why);
    },
  }),
  tool({ name: "node_request_id", input: takes({}), run: (_, { callId }) => callId }),
  tool({ name: "node_echo", input: takes({ value: any }), run: ({ value }) => value }),
  tool({
    name: "node_bytes",
    input: takes({ size: integer }),
    run: ({ size }) => new Uint8Array(Number(size)).fill(0x78),
  }),
  tool({
    name: "node_wait",
    description: "Says in variables when it begins and when it was stopped.",
    async run(_, { signal, sessionId }) {
      // A session of the worker's own, since that of a call ends with it.
      const session = await client.session(sessionId);
      await session.variables.set("node_begun", true);
      // The caller who saw that it began may have cancelled before set returned.
      if (!signal.aborted) await new Promise((resolve) => signal.addEventListener("abort", resolve));
      await session.variables.set("node_stopped", signal.reason.constructor.name);
    },
  }),
  tool({
    name: "node_ask",
    description: "Asks its caller.",
    async run(_, context) {
      const { action, content } = await context.ask("Who are you?", takes({ name: text, age: { ...integer, maximum: 200 } }));
      return `${action} ${content.name ?? ""} ${content.age ?? 0}`;
    },
  }),
  tool({
    name: "where",
    input: { type: "object", properties: {}, additionalProperties: false },
    output: { type: "string" },
    run: () => "node",
  }),
];

await new Worker({ address, tools, exact: true, drainOn: ["SIGTERM"] }).run();
await client.close();
