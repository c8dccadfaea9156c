import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const PACKAGE = new URL("../../", import.meta.url);
/** In the package, so that its name leads to what was built. */
const PLACE = new URL("build/docs/", PACKAGE);

const PRELUDE = `
import { type Client, connect, DateTime, type Session, type Tool, tool, ToolBridgeError, Worker } from "grpc-tool-bridge";
import { z } from "zod";
void [connect, DateTime, tool, ToolBridgeError, Worker, z];
declare const client: Client, session: Session, add: Tool, again: () => Promise<unknown>;
`;

/** The examples of the documentation comments, and the TypeScript of the README. */
async function examples(): Promise<string[]> {
  const found: string[] = [];
  for (const name of await readdir(new URL("src/", PACKAGE), { recursive: true })) {
    if (!name.endsWith(".ts") || name.startsWith("gen/")) continue;
    const source = await readFile(new URL(`src/${name}`, PACKAGE), "utf8");
    for (const [, code] of source.matchAll(/@example\n\s*\* ```ts\n(.*?)\s*\* ```/gs)) {
      found.push(code!.replaceAll(/^\s*\* ?/gm, ""));
    }
  }
  const readme = await readFile(new URL("README.md", PACKAGE), "utf8");
  for (const [, code] of readme.matchAll(/```ts\n(.*?)```/gs)) found.push(code!);
  return found;
}

test("the examples of the documentation fit the types that users get", async () => {
  const codes = await examples();
  assert.ok(codes.length >= 10, String(codes.length));
  await rm(PLACE, { recursive: true, force: true });
  await mkdir(PLACE, { recursive: true });
  for (const [number, code] of codes.entries()) {
    const body = `${PRELUDE}\nexport async function example(): Promise<unknown> {\n${code}\nreturn undefined;\n}\n`;
    await writeFile(new URL(`example${number}.ts`, PLACE), body);
  }
  const config = {
    extends: "../../tsconfig.json",
    compilerOptions: { rootDir: ".", noEmit: true, noUnusedLocals: false },
    include: ["*.ts"],
    exclude: [],
  };
  await writeFile(new URL("tsconfig.json", PLACE), JSON.stringify(config));
  const compiler = fileURLToPath(new URL("node_modules/.bin/tsc", PACKAGE));
  const run = promisify(execFile)(compiler, ["-p", fileURLToPath(PLACE)]);
  await run.catch((error: { stdout: string }) => assert.fail(error.stdout));
});
