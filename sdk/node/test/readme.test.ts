import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { Worker } from "../src/index.js";
import { Hub } from "./support/hub.js";

const PACKAGE = new URL("../../", import.meta.url);
const EXAMPLES = new URL("../../examples/node/", PACKAGE);
/** Where the programs are run from, so that they find this package by its name, as an installed one. */
const PLACE = new URL("build/readme/", PACKAGE);
const ADDRESS = "127.0.0.1:50051";

const PRELUDE = `
import { connect, DateTime, Decimal, tool, ToolExecutionError, Tuple, Worker } from "grpc-tool-bridge";
import { z } from "zod";
const client = await connect("${ADDRESS}");
const session = await client.session();
const { variables: all } = session;
`;

let hub: Hub;
let readme: string;

before(async () => {
  hub = await Hub.start();
  readme = await readFile(new URL("README.md", PACKAGE), "utf8");
  await mkdir(PLACE, { recursive: true });
});

after(() => hub.kill());

/** Runs a program; returns what it prints. */
async function run(name: string, code: string): Promise<string> {
  const file = new URL(name, PLACE);
  await writeFile(file, code.replaceAll(ADDRESS, hub.address));
  const child = spawn(process.execPath, [fileURLToPath(file)], { stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  let errors = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (output += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (errors += text));
  const code_ = await new Promise((resolve) => child.once("close", resolve));
  assert.equal(code_, 0, `${code}\n${errors}`);
  return output;
}

function blocks(): string[] {
  return [...readme.matchAll(/```js\n(.*?)```/gs)].map(([, code]) => code!);
}

test("the README shows the files of the examples", async () => {
  for (const name of ["worker.js", "client.js"]) {
    assert.ok(blocks().includes(await readFile(new URL(name, EXAMPLES), "utf8")), name);
  }
});

test("the worker and the client of the README print what it says", async () => {
  const [worker, client] = blocks();
  await writeFile(new URL("worker.js", PLACE), worker!.replaceAll(ADDRESS, hub.address));
  const child = spawn(process.execPath, [fileURLToPath(new URL("worker.js", PLACE))], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  assert.equal((await lines.next()).value, "offers slugify and countdown");
  const printed = await run("client.js", client!);
  const [, shown] = /```text\n(.*?)```/s.exec(readme)!;
  assert.equal(printed, shown);
  child.kill("SIGTERM");
  assert.equal(await new Promise((resolve) => child.once("close", resolve)), 0);
});

test("every other piece of code in the README runs", async () => {
  const { tool } = await import("../src/index.js");
  const countdown = tool({
    name: "countdown",
    input: { type: "object", properties: { start: {} } },
    async *run({ start }) {
      for (let number = start as number; number >= 0; number--) yield number;
    },
  });
  const calculate = tool({
    name: "calculate",
    input: { type: "object", properties: { expression: { type: "string" } }, required: ["expression"] },
    run: ({ expression }) => {
      if (String(expression).endsWith("/0")) throw new RangeError("division by zero");
      return 4;
    },
  });
  await using worker = await new Worker({ address: hub.address, tools: [countdown, calculate] }).start();
  const fragments = blocks().filter((code) => !code.includes("import {"));
  assert.ok(fragments.length >= 8, String(fragments.length));
  for (const [number, code] of fragments.entries()) {
    const needsVariables = code.includes("variables.") && !code.includes("{ variables }");
    const prelude = needsVariables ? `${PRELUDE}const variables = all;\n` : PRELUDE;
    await run(`fragment${number}.js`, `${prelude}${code}\nawait client[Symbol.asyncDispose]();\n`);
  }
  assert.equal(worker.tools.length, 2);
});
