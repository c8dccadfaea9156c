/** A worker whose tool ends once the process was told to end: `node draining_worker.js ADDRESS`. */
import { once } from "node:events";
import { tool, Worker } from "../../src/index.js";

const untilDrained = tool({
  name: "js_until_drained",
  async run() {
    console.log("called");
    await once(process, "SIGTERM");
    return "drained";
  },
});

const worker = new Worker({ address: process.argv[2]!, tools: [untilDrained], drainOn: ["SIGTERM"] });
await worker.start();
console.log("ready");
await worker.run();
