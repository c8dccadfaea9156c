// A worker in Node.js without further packages: `node demo_worker.js [ADDRESS]`, after `npm run build` in sdk/node.
import { tool, Worker } from "../../sdk/node/dist/index.js";

const slugify = tool({
  name: "slugify",
  description: "Makes a text fit for a URL.",
  input: { type: "object", properties: { text: { type: "string" } }, required: ["text"] },
  run: ({ text }) => (text.toLowerCase().match(/[a-z0-9]+/g) ?? []).join("-"),
});

const worker = new Worker({ address: process.argv[2] ?? "127.0.0.1:50051", tools: [slugify], drainOn: ["SIGTERM"] });
await worker.start();
console.log("offers slugify");
await worker.run();
