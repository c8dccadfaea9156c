import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../../../../", import.meta.url));
const PEER = fileURLToPath(new URL("../conformance/peer.js", import.meta.url));

test("the package reads, writes and does what every peer does", { timeout: 300_000 }, async () => {
  const python = process.env.PYTHON ?? `${ROOT}.venv/bin/python`;
  const args = ["-m", "conformance.run", "--peer", `"${process.execPath}" "${PEER}"`];
  const run = spawn(python, args, { cwd: ROOT, stdio: ["ignore", "pipe", "inherit"] });
  let report = "";
  run.stdout.setEncoding("utf8").on("data", (text: string) => {
    report += text;
  });
  const [code] = (await once(run, "close")) as [number];
  assert.equal(code, 0, report);
});
