// The client or the worker of the figures in Node.js: `node driver.mjs client|worker HOST:PORT`. A client answers lines
// of JSON, such as {"width": 100, "number": 1000}, with the seconds of that many calls.
import { createInterface } from "node:readline";
import { connect, tool, Worker } from "../../sdk/node/dist/index.js";

const [, , role, address] = process.argv;
const CHUNK = new Uint8Array(64 * 1024);
const integer = { type: "integer" };

const tools = [
  tool({
    name: "add",
    input: { type: "object", properties: { a: integer, b: integer }, required: ["a", "b"] },
    run: ({ a, b }) => a + b,
  }),
  tool({
    name: "chunks",
    input: { type: "object", properties: { number: integer }, required: ["number"] },
    async *run({ number }) {
      for (let index = 0; index < number; index++) yield CHUNK;
    },
  }),
];

if (role === "worker") {
  const worker = new Worker({ address, tools, capacity: 1_000 });
  await worker.start();
  console.log('"ready"');
  for await (const _ of process.stdin);
  await worker.close();
} else {
  const client = await connect(address);
  const session = await client.session();
  console.log('"ready"');
  for await (const line of createInterface({ input: process.stdin })) {
    const { width, number } = JSON.parse(line);
    let made = 0;
    const caller = async () => {
      while (made < number) {
        const a = made++;
        if ((await session.call("add", [a, 7])) !== a + 7) throw new Error("a wrong sum");
      }
    };
    const began = performance.now();
    await Promise.all(Array.from({ length: width }, caller));
    console.log((performance.now() - began) / 1_000);
  }
  await client.close();
}
