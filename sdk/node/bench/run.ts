/**
 * Measures the package against a hub, and what nothing but grpc.aio takes: `npm run bench`, with `--json` for programs.
 *
 * Everything is measured in turns, so that what else the machine does hits all alike; the figures are medians.
 */
import { connect, tool, Worker } from "../src/index.js";
import { PythonProcess } from "./processes.js";

const ROUNDS = Number(process.env.ROUNDS ?? 5);
const CALLS = 4_000;
const SINGLE_CALLS = 500;
const CHUNKS = 800;
const CHUNK = new Uint8Array(64 * 1024);

/** Measures something once. */
type Measure = () => Promise<number>;

await using hub = await PythonProcess.start("hub");
await using bare = await PythonProcess.startBare();
await using pythonWorker = await PythonProcess.start("worker", hub.address);
await using worker = new Worker({
  address: hub.address,
  capacity: 1_000,
  tools: [
    tool({
      name: "js_add",
      input: { type: "object", properties: { a: { type: "integer" }, b: { type: "integer" } }, required: ["a", "b"] },
      run: ({ a, b }) => (a as number) + (b as number),
    }),
    tool({
      name: "js_chunks",
      input: { type: "object", properties: { number: { type: "integer" } }, required: ["number"] },
      async *run({ number }) {
        for (let index = 0; index < (number as number); index++) yield CHUNK;
      },
    }),
  ],
});
await worker.start();
await using pythonClient = await PythonProcess.start("client", hub.address);
await using client = await connect(hub.address);
await using session = await client.session();

/** Calls a tool, `width` calls at once; returns calls a second. */
async function callsPerSecond(name: string, width: number, number: number): Promise<number> {
  let made = 0;
  const caller = async () => {
    while (made < number) {
      const a = made++;
      const sum = await session.call<number>(name, [a, 7]);
      if (sum !== a + 7) throw new Error(`${a} + 7 = ${sum}`);
    }
  };
  const began = performance.now();
  await Promise.all(Array.from({ length: width }, caller));
  return (number / (performance.now() - began)) * 1000;
}

/** Streams chunks of 64 KiB; returns MB a second. */
async function megabytesPerSecond(name: string): Promise<number> {
  const began = performance.now();
  let size = 0;
  for await (const chunk of session.stream<Uint8Array>(name, { number: CHUNKS })) size += chunk.length;
  if (size !== CHUNKS * CHUNK.length) throw new Error(`${size} bytes came`);
  return size / 1e3 / (performance.now() - began);
}

const measures: Record<string, Measure> = {
  "grpc.aio alone, 100 at once, calls/s": () => pythonClient.ask({ bare: bare.address, number: 1_500, width: 100 }),
  "Node client, hub's tool, 100 at once, calls/s": () => callsPerSecond("add", 100, CALLS),
  "Python client, hub's tool, 100 at once, calls/s": () => pythonClient.ask({ tool: "add", number: CALLS, width: 100 }),
  "Node client, Node worker, 100 at once, calls/s": () => callsPerSecond("js_add", 100, CALLS),
  "Node client, Python worker, 100 at once, calls/s": () => callsPerSecond("py_add", 100, CALLS),
  "Python client, Node worker, 100 at once, calls/s": () =>
    pythonClient.ask({ tool: "js_add", number: CALLS, width: 100 }),
  "Python client, Python worker, 100 at once, calls/s": () =>
    pythonClient.ask({ tool: "py_add", number: CALLS, width: 100 }),
  "grpc.aio alone, one at a time, us": async () =>
    1e6 / (await pythonClient.ask({ bare: bare.address, number: SINGLE_CALLS, width: 1 })),
  "Node client, hub's tool, one at a time, us": async () => 1e6 / (await callsPerSecond("add", 1, SINGLE_CALLS)),
  "Python client, hub's tool, one at a time, us": async () =>
    1e6 / (await pythonClient.ask({ tool: "add", number: SINGLE_CALLS, width: 1 })),
  "Node client, Node worker, chunks of 64 KiB, MB/s": () => megabytesPerSecond("js_chunks"),
  "Node client, hub's tool, chunks of 64 KiB, MB/s": () => megabytesPerSecond("chunks"),
  "Python client, Node worker, chunks of 64 KiB, MB/s": () => pythonClient.ask({ stream: "js_chunks", number: CHUNKS }),
  "Python client, Python worker, chunks of 64 KiB, MB/s": () =>
    pythonClient.ask({ stream: "py_chunks", number: CHUNKS }),
};

const taken = new Map<string, number[]>();
// The first round warms everything up.
for (let round = 0; round <= ROUNDS; round++) {
  for (const [name, measure] of Object.entries(measures)) {
    const figure = await measure();
    if (round > 0) taken.set(name, [...(taken.get(name) ?? []), figure]);
  }
}

const medians = Object.fromEntries(
  [...taken].map(([name, figures]) => [name, figures.toSorted((a, b) => a - b)[Math.floor(figures.length / 2)]!]),
);
if (process.argv.includes("--json")) {
  console.log(JSON.stringify(medians));
} else {
  for (const [name, figure] of Object.entries(medians)) {
    console.log(`${name.padEnd(56)} ${Math.round(figure).toLocaleString("en-US").padStart(9)}`);
  }
}
void pythonWorker;
