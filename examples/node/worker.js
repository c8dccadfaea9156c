// A worker: its tools can be called from every language. `node worker.js [ADDRESS]`
import { tool, Worker } from "grpc-tool-bridge";
import { z } from "zod";

const slugify = tool({
  name: "slugify",
  description: "Makes a text fit for a URL.",
  input: z.object({ text: z.string().describe("any text"), separator: z.string().default("-") }),
  output: z.string(),
  idempotent: true,
  run: ({ text, separator }) =>
    text
      .toLowerCase()
      .match(/[a-z0-9]+/g)
      ?.join(separator) ?? "",
});

const countdown = tool({
  name: "countdown",
  description: "Counts down to zero.",
  input: { type: "object", properties: { start: { type: "integer", minimum: 0 } }, required: ["start"] },
  async *run({ start }, { signal }) {
    for (let number = start; number >= 0 && !signal.aborted; number--) yield number;
  },
});

const worker = new Worker({
  address: process.argv[2] ?? "127.0.0.1:50051",
  tools: [slugify, countdown],
  drainOn: ["SIGTERM", "SIGINT"],
});
await worker.start();
console.log(`offers ${worker.tools.join(" and ")}`);
await worker.run();
